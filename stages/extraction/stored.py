"""What was read from a document, in the store: the same bytes are read once."""

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from stages.extraction.params import ExtractParams
from stages.extraction.reading import Extracted, read
from stages.store import Store

# They do not change what a document that was read holds.
LIMITS = {"timeout_s", "memory_mb", "metadata_columns"}
# Part of the key, so that a change to how documents are read is never answered from before it.
CODE = Path(__file__).parent
NOT_READING = ("params.py", "stored.py", "workers.py")


def key_of(sha256: str, ending: str, params: ExtractParams) -> str:
    """Return the store's key of a document.

    Args:
        sha256: of its bytes, in hex.
        ending: of its name, in lower case.
    """
    settings = params.model_dump(exclude=LIMITS)
    return Store.key(sha256=sha256, ending=ending, pymupdf=version("pymupdf"), code=_code_hash(), **settings)


def read_stored(file: Path, params: ExtractParams) -> Extracted:
    """Return what `read` gives, from the store if the same bytes were read the same way before."""
    try:
        content = file.read_bytes()
    except OSError as fault:
        return Extracted("damaged", f"cannot be read: {fault.strerror}")
    ending = file.suffix.lower()
    store, key = Store("extract"), key_of(hashlib.sha256(content).hexdigest(), ending, params)
    if (stored := store.get(key)) is not None:
        return Extracted(**json.loads(stored))
    result = read(content, ending, params)
    store.put(key, json.dumps(asdict(result)).encode())
    return result


@lru_cache(maxsize=1)
def _code_hash() -> str:
    files = sorted(file for file in CODE.glob("*.py") if file.name not in NOT_READING)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
