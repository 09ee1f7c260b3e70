"""Extraction engines: what turns the pages of an open PDF into Markdown."""

from collections.abc import Callable
from typing import Any

import onnxruntime

from stages.extraction.ocr import recognise
from stages.extraction.params import ExtractParams

PageReader = Callable[[int], str]

# `header` and `footer` leave out the running heads and page numbers that the layout model finds.
# OCR is done here and not by the engine: that has none without layout analysis, and with it takes what is installed.
OPTIONS: dict[str, dict[str, Any]] = {
    "layout": {"use_ocr": False, "header": False, "footer": False},
    "fast": {"ignore_images": True, "ignore_graphics": False},
}
# `fast` tells headings by their size, relative to the text of the document's first pages.
PAGES_FOR_SIZES = 10


class OneThread(onnxruntime.SessionOptions):
    """How the layout model is run: each worker keeps one core busy, so more threads would only wait for each other.

    PyMuPDF turns the arena off, for it keeps what the largest page needed. A worker that grows is replaced, and with
    the arena the model takes two thirds of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = self.inter_op_num_threads = 1

    @property
    def enable_cpu_mem_arena(self) -> bool:
        """Say that the arena is on, whoever turns it off."""
        return True

    @enable_cpu_mem_arena.setter
    def enable_cpu_mem_arena(self, value: bool) -> None:
        pass


# Importing PyMuPDF loads the model: this module comes first.
onnxruntime.SessionOptions = OneThread


def page_reader(document: Any, params: ExtractParams) -> PageReader:
    """Return the reader of the pages (numbered from 0) of `document`, one of PyMuPDF's, by `params.engine`.

    `layout` works with layout analysis, `fast` without. With `params.ocr`, a page that is a picture of text (by
    PyMuPDF4LLM's model of such pages) or whose font has no Unicode is read by Tesseract first; text that an earlier
    OCR left in the file is kept. PyMuPDF4LLM chooses the engine for the whole process, so one process uses one at a
    time.
    """
    import pymupdf4llm

    pymupdf4llm.use_layout(params.engine == "layout")
    options = dict(OPTIONS[params.engine])
    if params.engine == "fast":
        first = range(min(PAGES_FOR_SIZES, len(document)))
        # Else it reads the whole document for each page.
        options["hdr_info"] = pymupdf4llm.IdentifyHeaders(document, pages=first)

    def read_page(page: int) -> str:
        if params.ocr:
            recognise(document[page])
        markdown = str(pymupdf4llm.to_markdown(document, pages=[page], show_progress=False, **options))
        if params.engine == "layout" and not markdown.strip() and document[page].get_text().strip():
            # The model takes a lone line, wherever it stands, for a running head.
            whole = {**options, "header": True, "footer": True}
            markdown = str(pymupdf4llm.to_markdown(document, pages=[page], show_progress=False, **whole))
        return markdown

    return read_page
