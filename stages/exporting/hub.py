"""Putting a folder on the Hub."""

from collections.abc import Callable
from glob import escape
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from stages.runtime.errors import UserError


def check_push(repository: str) -> None:
    """See that a push can be tried, before anything is made for it.

    Raises:
        UserError: if there is no token, or no repository can have that name.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as fault:
        raise UserError(f"--push {repository}: {str(fault).splitlines()[0]}") from None
    if get_token() is None:
        raise UserError("--push: no token: `hf auth login` keeps one, or put it into the environment variable HF_TOKEN")


def push(folder: Path, repository: str, public: bool, ours: Callable[[Path], bool]) -> str:
    """Upload a folder to a model repository, which is made if there is none, in one commit; return its address.

    A repository that exists keeps its visibility. Files in it that an export writes and this one did not are deleted:
    they belong to another model.

    Args:
        repository: `owner/name`, or `name` for the token's owner.
        public: whether everybody may see a new repository.
        ours: says whether an export writes a file of that path.

    Raises:
        UserError: if the Hub refuses or cannot be reached.
    """
    api = HfApi()
    try:
        made = api.create_repo(repository, private=not public, exist_ok=True)
        old = [escape(file) for file in api.list_repo_files(made.repo_id) if ours(Path(file))]
        done = api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message="Upload the classifier", delete_patterns=old
        )
    except OfflineModeIsEnabled:
        raise UserError("--push: HF_HUB_OFFLINE is set: unset it to upload") from None
    except HfHubHTTPError as fault:
        status = fault.response.status_code
        reason = (fault.server_message or str(fault)).splitlines()[0]
        remedy = "its token must be allowed to write there" if status in (401, 403) else "nothing was committed"
        raise UserError(f"--push {repository}: the Hub says {status}: {reason}: {remedy}") from None
    except httpx2.HTTPError as fault:
        raise UserError(f"--push {repository}: {api.endpoint} cannot be reached: {fault}") from None
    except ValueError as fault:  # the card's front matter, as the Hub judges it
        raise UserError(f"--push {repository}: {' '.join(str(fault).split())}") from None
    return str(done.commit_url)
