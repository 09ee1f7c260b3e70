"""Comparing names of categories and classes: case and spaces are forgiven."""


def normal(name: str) -> str:
    """Return the form in which two spellings of one name are equal."""
    return " ".join(name.split()).casefold()
