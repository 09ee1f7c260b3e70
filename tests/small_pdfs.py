"""Small PDFs and settings for the tests of extraction."""

from pathlib import Path
from typing import Any

import pymupdf

from stages.extraction.params import ExtractParams

PROSE = "The ferry left the harbour at six and came back with the mail. "
LIMITS: dict[str, Any] = {"metadata_columns": [], "timeout_s": 60.0, "memory_mb": 4096}
FAST = ExtractParams(engine="fast", ocr=False, max_tokens=5000, drop_references=False, **LIMITS)
LAYOUT = FAST.model_copy(update={"engine": "layout"})


def shorter(max_tokens: int) -> ExtractParams:
    return FAST.model_copy(update={"max_tokens": max_tokens})


def pdf(*pages: str, title: str | None = None, **save: Any) -> bytes:
    """Make a PDF of text pages; `save` goes to PyMuPDF's `tobytes`."""
    document = pymupdf.open()
    for text in pages:
        document.new_page().insert_textbox((50, 50, 550, 800), text, fontsize=11)
    if title:
        document.set_metadata({"title": title})
    return bytes(document.tobytes(**save))


def slow_pdf(repeated: int) -> bytes:
    """Return a PDF that takes half a minute, and other bytes for each number."""
    document = pymupdf.open(stream=pdf(*[PROSE * repeated] * 20))
    for _ in range(5):
        document.insert_pdf(pymupdf.open(stream=document.tobytes()))
    return bytes(document.tobytes())


def stored(workspace: Path) -> list[Path]:
    return sorted(path for path in workspace.rglob(".cache/extract/*/*") if path.is_file())
