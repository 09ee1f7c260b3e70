"""What the last run of a stage wrote, from DVC's cache: the workspace no longer has it while the stage runs."""

from pathlib import Path


def last_output(path: Path) -> bytes | None:
    """Return the bytes of an output as dvc.lock names them, None where there are none or the cache lacks them."""
    if not Path("dvc.lock").is_file():
        return None
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    try:
        content: bytes = DVCFileSystem().read_bytes(f"/{path.as_posix()}")
    except (FileNotFoundError, DvcException, DataIndexDirError):  # the last one: not even the list of its folder
        return None
    return content
