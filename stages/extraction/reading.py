"""Reading one document."""

import codecs
import re
from dataclasses import dataclass

from stages.extraction.params import ExtractParams
from stages.extraction.text import find_title, judge, plain
from stages.extraction.tokens import cut

# What MuPDF says when it gets no more memory.
NO_MEMORY = re.compile(r"alloc \(.*\) failed")


@dataclass(frozen=True)
class Extracted:
    """What was read from one file. `body` is plain text of at most `max_tokens` tokens."""

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
    except MemoryError:
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
    body, tokens = cut(plain(markdown), params.max_tokens)
    status, error = judge(body)
    return Extracted(status, error, find_title("", markdown), 1, 1, tokens, markdown, body)


def _read_pdf(content: bytes, params: ExtractParams) -> Extracted:
    import pymupdf

    from stages.extraction.engines import page_reader

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
        read_page, parts, tokens = page_reader(params.engine), [], 0
        for page in range(pages):
            try:
                parts.append(read_page(document, page))
            except MemoryError:
                raise
            except Exception as fault:
                # MuPDF's errors, not all RuntimeErrors, and whatever its Python side makes of broken objects.
                return Extracted("damaged", f"page {page + 1}: {type(fault).__name__}: {fault}", pages=pages)
            tokens += cut(plain(parts[-1]), params.max_tokens)[1]
            if tokens >= params.max_tokens:
                break
        markdown = "\n\n".join(part.strip() for part in parts).strip()
        body, tokens = cut(plain(markdown), params.max_tokens)
        title = find_title((document.metadata or {}).get("title") or "", markdown)
        status, error = judge(body)
        return Extracted(status, error, title, pages, len(parts), tokens, markdown, body)


def to_body(markdown: str, params: ExtractParams) -> tuple[str, int]:
    return cut(plain(markdown), params.max_tokens)
