"""Reading one document."""

import codecs
import re
from dataclasses import dataclass

from stages.extraction.hyphens import cut_words, restore
from stages.extraction.params import ExtractParams
from stages.extraction.quality import judge
from stages.extraction.running import drop_running
from stages.extraction.text import to_body
from stages.extraction.titles import find_title, largest_text

LONGEST_WORD = 40
LAST_WORD = re.compile(r"([^\W_]+)-?$")
SMALL = re.compile(r"[a-zß-öø-ÿ]")

# What MuPDF says when it gets no more memory.
NO_MEMORY = re.compile(r"alloc \(.*\) failed")


@dataclass(frozen=True)
class Extracted:
    """What was read from one file.

    `body` is plain text of at most `max_tokens` tokens; `language` its ISO 639-1 code, None where it cannot be told.
    """

    status: str
    error: str | None = None
    title: str = ""
    pages: int = 0
    pages_read: int = 0
    tokens: int = 0
    markdown: str = ""
    body: str = ""
    language: str | None = None


def read(content: bytes, ending: str, params: ExtractParams) -> Extracted:
    """Read a document of the kind `ending` names (`.pdf`, `.md`, `.txt`) up to `max_tokens` tokens.

    Raises:
        MemoryError: if there is too little memory, which says nothing about the document: more may be enough.
    """
    if not content:
        return Extracted("damaged", "the file is empty (zero bytes)")
    try:
        found = _read_pdf(content, params) if ending == ".pdf" else _read_text(content, params)
    except (MemoryError, OSError):  # the machine's, not the document's
        raise
    except Exception as fault:
        found = Extracted("damaged", f"{type(fault).__name__}: {fault}")
    if found.error and NO_MEMORY.search(found.error):
        raise MemoryError(found.error)
    return found


def _read_text(content: bytes, params: ExtractParams) -> Extracted:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        markdown = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as fault:
        return Extracted("damaged", f"no UTF-8 text (byte {fault.start}): convert it with iconv")
    body, tokens = to_body(markdown, params)
    status, error, language = judge(body)
    return Extracted(status, error, find_title("", markdown), 1, 1, tokens, markdown, body, language)


def _read_pdf(content: bytes, params: ExtractParams) -> Extracted:
    from stages.extraction.engines import page_reader  # isort: split
    import pymupdf

    try:
        document = pymupdf.open(stream=content, filetype="pdf")
    except pymupdf.FileDataError:
        return Extracted("damaged", "no PDF that can be opened: truncated or another kind of file")
    with document:
        if not document.is_pdf:
            # MuPDF goes by the content: a web page or a picture of this name would be read as one.
            return Extracted("damaged", "another kind of file with the ending .pdf")
        if document.needs_pass:
            return Extracted("encrypted", "needs a password: save it without one")
        try:
            pages = len(document)
        except (RuntimeError, pymupdf.mupdf.FzErrorBase) as fault:
            return Extracted("damaged", f"its list of pages is broken: {fault}")
        if not pages:
            return Extracted("damaged", "a PDF without pages")
        read_page, parts, printed, largest = None, [], [], ""
        markdown, body, tokens, seen = "", "", 0, 0
        for page in range(pages):
            try:
                read_page = read_page or page_reader(document, params)
                parts.append(read_page(page))
                printed.append(str(document[page].get_text()))
                largest = largest if page else largest_text(document[0].get_text("dict", flags=pymupdf.TEXTFLAGS_TEXT))
            except MemoryError:
                raise
            except Exception as fault:
                # MuPDF's errors, not all RuntimeErrors, and whatever its Python side makes of broken objects.
                return Extracted("damaged", f"page {page + 1}: {type(fault).__name__}: {fault}", pages=pages)
            seen += to_body(parts[-1], params)[1]
            # What cleaning takes out of the whole is missing in the end: only then is it known to be enough.
            if seen >= params.max_tokens or page + 1 == pages:
                markdown = join_pages(parts, printed)
                body, tokens = to_body(markdown, params)
                if tokens >= params.max_tokens:
                    break
        title = find_title((document.metadata or {}).get("title") or "", markdown, largest)
        status, error, language = judge(body)
        if status == "empty":
            error = f"{error}: {'OCR found none' if params.ocr else 'a scan without a text layer? Try extract.ocr'}"
        return Extracted(status, error, title, pages, len(parts), tokens, markdown, body, language)


def join_pages(parts: list[str], printed: list[str]) -> str:
    """Join the pages of a document to its Markdown: running heads and feet dropped, real hyphens put back.

    Args:
        parts: the Markdown of each page.
        printed: the text of each page as its lines are printed.
    """
    pages: list[str] = []
    for part, before in zip(map(str.strip, drop_running(parts)), ["", *printed], strict=False):
        last = LAST_WORD.search(pages[-1][-LONGEST_WORD:]) if pages else None
        # A word cut at the end of a page goes on in the next line, not in the next paragraph.
        if last and SMALL.match(part) and f"{last[1]}-\n" in before:
            pages[-1] = f"{pages[-1].removesuffix('-')}-\n{part}"
        elif part:
            pages.append(part)
    return restore("\n\n".join(pages), cut_words("\n".join(printed)))
