"""Every random choice starts here: one integer from the params, one stream per purpose."""

import hashlib


def derive(seed: int, purpose: str) -> int:
    """Derive a 32-bit seed for `purpose` (its name) from a seed of params.yaml."""
    return int.from_bytes(_digest(seed, purpose)[:4], "big")


def rank(seed: int, purpose: str, name: str) -> str:
    """Give `name` a place in a seeded random order: sort by it.

    The place depends on the name and the seed alone, so adding a document moves no other.
    Returns a hex digest (64 characters).
    """
    return _digest(seed, purpose, name).hex()


def _digest(seed: int, *parts: str) -> bytes:
    return hashlib.sha256("\0".join([str(seed), *parts]).encode("utf-8", "surrogatepass")).digest()
