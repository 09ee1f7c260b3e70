"""What the last run of a stage wrote, in DVC's cache: the workspace no longer has it while the stage runs."""

from pathlib import Path


def last_output(path: Path) -> Path | None:
    """Return the file in DVC's cache that dvc.lock names for an output, None where there is none.

    Its name without its folder's is the rest of its md5: the same file always holds the same.
    """
    if not Path("dvc.lock").is_file():
        return None
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    system = DVCFileSystem()
    try:
        found = system.info(f"/{path.as_posix()}")["dvc_info"]["md5"]
    except (FileNotFoundError, KeyError, DvcException, DataIndexDirError):  # the last one: not even its folder's list
        return None
    cached = Path(system.repo.cache.local.oid_to_path(found))
    return cached if cached.is_file() else None
