"""OCR: reading pages that are pictures of text with Tesseract."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.extraction.params import ExtractParams
from stages.runtime.errors import UserError

LANGUAGE = "eng"
DPI = 300  # Tesseract's own advice for scans


def ocr_version(params: ExtractParams) -> str | None:
    """Return what the result of OCR depends on beside PyMuPDF (which holds Tesseract's program): a hash of its
    English data; None when OCR is off.

    Raises:
        UserError: if OCR is on and this machine has no Tesseract, or not its English data.
    """
    return f"tesseract {LANGUAGE} {_hash(_trained_data())}" if params.ocr else None


@lru_cache(maxsize=1)
def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _trained_data() -> Path:
    import pymupdf

    try:
        folder = pymupdf.get_tessdata()
    except RuntimeError:
        folder = None
    if not folder:
        raise UserError(
            "extract.ocr is true, but Tesseract is not installed: install it (Debian and Ubuntu: "
            "apt-get install tesseract-ocr; macOS: brew install tesseract) or set extract.ocr to false"
        )
    data = Path(folder) / f"{LANGUAGE}.traineddata"
    if not data.is_file():
        raise UserError(
            f"extract.ocr is true, but Tesseract's English data is missing ({data}): install it (Debian and Ubuntu: "
            "apt-get install tesseract-ocr-eng), or point TESSDATA_PREFIX to the folder that holds it"
        )
    return data


def recognise(page: Any) -> None:
    """Add a text layer to `page`, one of PyMuPDF's, where it is a picture of text, or its font has no Unicode.

    What is one is the decision of PyMuPDF4LLM's model of such pages. Text of an earlier OCR is kept.
    """
    # Not above: importing it looks for Tesseract, and fails without.
    from pymupdf4llm.helpers.document_layout import make_ocr_decision
    from pymupdf4llm.ocr import OCRMode
    from pymupdf4llm.ocr.tesseract_api import exec_ocr

    needed, _, _ = make_ocr_decision(page, OCRMode.SELECT_KEEP_OLD)
    if needed:
        exec_ocr(page, dpi=DPI, language=LANGUAGE)
