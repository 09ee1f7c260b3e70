"""Reading one document, in a worker process of its own."""

import codecs
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from stages.extraction.text import find_title, judge, plain
from stages.extraction.tokens import cut
from stages.store import Store

# Part of the store's key, so that a change to how documents are read is never answered from before it.
CODE = [Path(__file__).with_name(name) for name in ("engines.py", "reading.py", "text.py", "tokens.py")]


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


def read_stored(file: Path, engine: str, max_tokens: int) -> Extracted:
    """Return what `read` gives, from the store if the same bytes were read the same way before."""
    try:
        content = file.read_bytes()
    except OSError as fault:
        return Extracted("damaged", f"cannot be read: {fault.strerror}")
    store = Store("extract")
    key = store.key(
        sha256=hashlib.sha256(content).hexdigest(),
        ending=file.suffix.lower(),
        engine=engine,
        max_tokens=max_tokens,
        pymupdf=version("pymupdf"),
        code=_code_hash(),
    )
    if (stored := store.get(key)) is not None:
        return Extracted(**json.loads(stored))
    result = read(content, file.suffix.lower(), engine, max_tokens)
    store.put(key, json.dumps(asdict(result)).encode())
    return result


@lru_cache(maxsize=1)
def _code_hash() -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in CODE)).hexdigest()


def read(content: bytes, ending: str, engine: str, max_tokens: int) -> Extracted:
    """Read a document of the kind `ending` names (`.pdf`, `.md`, `.txt`) up to `max_tokens` tokens."""
    if not content:
        return Extracted("damaged", "the file is empty (zero bytes)")
    return _read_pdf(content, engine, max_tokens) if ending == ".pdf" else _read_text(content, max_tokens)


def _read_text(content: bytes, max_tokens: int) -> Extracted:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        markdown = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as fault:
        return Extracted("damaged", f"no UTF-8 text (byte {fault.start}): convert it with iconv")
    body, tokens = cut(plain(markdown), max_tokens)
    status, error = judge(body)
    return Extracted(status, error, find_title("", markdown), 1, 1, tokens, markdown, body)


def _read_pdf(content: bytes, engine: str, max_tokens: int) -> Extracted:
    import pymupdf

    from stages.extraction.engines import page_reader

    try:
        document = pymupdf.open(stream=content, filetype="pdf")
    except pymupdf.FileDataError:
        return Extracted("damaged", "no PDF that can be opened: truncated or another kind of file")
    with document:
        if document.needs_pass:
            return Extracted("encrypted", "needs a password: save it without one")
        try:
            pages = len(document)
        except (RuntimeError, pymupdf.mupdf.FzErrorBase) as fault:
            return Extracted("damaged", f"its list of pages is broken: {fault}")
        if not pages:
            return Extracted("damaged", "a PDF without pages")
        read_page, parts, tokens = page_reader(engine), [], 0
        for page in range(pages):
            try:
                parts.append(read_page(document, page))
            except MemoryError:
                raise
            except Exception as fault:
                # MuPDF's errors, not all RuntimeErrors, and whatever its Python side makes of broken objects.
                return Extracted("damaged", f"page {page + 1}: {type(fault).__name__}: {fault}", pages=pages)
            tokens += cut(plain(parts[-1]), max_tokens)[1]
            if tokens >= max_tokens:
                break
        markdown = "\n\n".join(part.strip() for part in parts).strip()
        body, tokens = cut(plain(markdown), max_tokens)
        title = find_title((document.metadata or {}).get("title") or "", markdown)
        status, error = judge(body)
        return Extracted(status, error, title, pages, len(parts), tokens, markdown, body)
