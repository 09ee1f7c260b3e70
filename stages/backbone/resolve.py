"""Where the files of a named model lie: the bundled one, a local folder, or the Hub."""

import logging
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from stages.backbone.bundled import BUNDLED, verified_bundled_folder
from stages.runtime.errors import UserError

log = logging.getLogger(__name__)

# Weights as safetensors, configuration and tokenizer; never code, never pickles.
WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]


def locate(name: str, revision: str, section: str = "model") -> Path:
    """Return the folder with the files of model `name`, downloading a Hub model's once.

    Args:
        name: `bundled:all-MiniLM-L6-v2`, a local folder, or a Hub id (`owner/model`).
        revision: commit, tag or branch; for Hub models only. Of a branch or tag, which can move, the log says
            the commit it stands for today.
        section: of params.yaml that holds `revision`.

    Raises:
        UserError: if there is no such folder, model or network, or it holds no safetensors weights.
    """
    if name == BUNDLED:
        return verified_bundled_folder()
    if name.startswith("bundled:"):
        raise UserError(f"model {name!r}: the bundled model is {BUNDLED!r}")
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "models/")) or name.count("/") != 1:
            raise UserError(
                f"model {name!r}: there is no such folder (git-ignored folders need `dvc add` or `dvc pull`)"
            )
        folder = _download(name, revision)
        if not re.fullmatch("[0-9a-f]{40}", revision):
            log.warning(
                "model %r: revision %r is commit %s today; set %s.revision to that to keep it",
                name,
                revision,
                folder.name,
                section,
            )
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"model {name!r}: no .safetensors weights in it: convert them (other formats can run code)")
    return folder


def _download(name: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except LocalEntryNotFoundError:
        reason = "no network and no copy downloaded before"
    except HFValidationError as fault:
        reason = f"no name of a Hub model ({fault})"
    except HfHubHTTPError as fault:
        reason = str(fault).splitlines()[0]
    except OSError as fault:
        reason = f"the Hub cannot be reached ({type(fault).__name__})"
    raise UserError(
        f"model {name!r} (revision {revision!r}): {reason}. Download it once with a network, or put its files "
        f"below models/pretrained/, `dvc add` that folder and name it in params.yaml"
    )
