"""Extraction engines: what turns one page of an open PDF into Markdown."""

from collections.abc import Callable
from typing import Any

import pymupdf
import pymupdf4llm

PageReader = Callable[[pymupdf.Document, int], str]

# `header` and `footer` leave out running heads and page numbers, which repeat on every page.
OPTIONS: dict[str, dict[str, Any]] = {
    "layout": {"use_ocr": False, "header": False, "footer": False},
    "fast": {"ignore_images": True, "ignore_graphics": False},
}


def page_reader(engine: str) -> PageReader:
    """Return the reader of `engine`: `layout` (with layout analysis) or `fast` (without).

    PyMuPDF4LLM chooses the engine for the whole process, so one process uses one.
    OCR is off: its result depends on what is installed on the machine.
    """
    pymupdf4llm.use_layout(engine == "layout")
    options = OPTIONS[engine]

    def read_page(document: pymupdf.Document, page: int) -> str:
        return str(pymupdf4llm.to_markdown(document, pages=[page], show_progress=False, **options))

    return read_page
