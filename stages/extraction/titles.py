"""A document's title: the file's own, the largest text on page one, a heading, or the first line."""

import re
from typing import Any

from stages.extraction.signs import normalise
from stages.extraction.text import HEADING, plain

MAX_TITLE_CHARACTERS = 300
# What word processors and libraries write into a PDF's title when nobody did.
NO_TITLES = re.compile(
    r"^(untitled|title|anonymous|\(.*\)|microsoft word.*|.*\.(docx?|tex|dvi|pdf|indd|rtf|odt))$", re.I
)
# What journals and preprint servers print larger than the title: their names, their marks, kinds of articles.
MASTHEAD = re.compile(
    r"^(the )?(journal|annals|proceedings|transactions|bulletin|archives) (of|on|for|in)\b|^zeitschrift für\b"
    r"|^([\w-]+ ){0,4}(journal|annals|transactions|bulletin|magazine|letters)$"
    r"|^arxiv:|^doi\b|\bissn\b|^vol(ume|\.)|^(original |research |review )?(article|paper)$",
    re.I,
)
SAME_SIZE = 0.5  # points: smaller differences are roundings or small capitals
MIN_LETTERS_OF_TITLE = 4  # fewer are a drop cap or a logo
OCR_FONT = "GlyphLessFont"  # Tesseract's: it guesses sizes line by line
LARGER = 1.1  # times the size of the running text: below, a page has no text that stands out


def find_title(metadata_title: str, markdown: str, largest: str = "") -> str:
    """Return a document's title: the file's own if it is one, else `largest` (text on page one), else the first
    heading, else the first line; at most 300 characters."""
    own = " ".join(normalise(metadata_title).split())
    if own and not NO_TITLES.match(own):
        return own[:MAX_TITLE_CHARACTERS]
    if largest:
        return largest[:MAX_TITLE_CHARACTERS]
    if heading := HEADING.search(markdown):
        return _one_line(plain(normalise(heading.group(1))))
    first, _, _ = plain(normalise(markdown)).partition("\n")
    return _one_line(first)


def largest_text(page: dict[str, Any]) -> str:
    """Return the lines set in the largest letters of a page, joined, or "" if none stand out.

    A journal's name, a drop cap, text that is not horizontal and what is longer than a title do not count; then the
    next size is looked at.

    Args:
        page: as PyMuPDF's `Page.get_text("dict")` gives it; sizes in points.
    """
    lines = [(text, size) for block in page["blocks"] for text, size in _lines(block)]
    weights: dict[float, int] = {}
    for text, size in lines:
        weights[round(size)] = weights.get(round(size), 0) + len(text)
    if not weights:
        return ""
    running = max(weights, key=lambda size: (weights[size], -size))
    for size in sorted({size for _, size in lines if size > LARGER * running}, reverse=True):
        for title in _runs(lines, size):
            letters = sum(sign.isalpha() for sign in title)
            if letters >= MIN_LETTERS_OF_TITLE and len(title) <= MAX_TITLE_CHARACTERS and not MASTHEAD.search(title):
                return title
    return ""


def _lines(block: dict[str, Any]) -> list[tuple[str, float]]:
    lines = []
    for line in block.get("lines", ()):
        spans = [span for span in line["spans"] if span["text"].strip() and span["font"] != OCR_FONT]
        if spans and line["dir"][0] > 0.99:
            text = " ".join("".join(span["text"] for span in line["spans"]).split())
            # The size of most of it: a raised footnote mark or a drop cap does not make a line's size.
            longest = max(spans, key=lambda span: len(span["text"].strip()))
            lines.append((text, float(longest["size"])))
    return lines


def _runs(lines: list[tuple[str, float]], size: float) -> list[str]:
    """Return the stretches of lines of one size that follow each other, longest first."""
    runs: list[list[str]] = [[]]
    for text, own in lines:
        if abs(own - size) <= SAME_SIZE:
            runs[-1].append(text)
        elif runs[-1]:
            runs.append([])
    joined = [join_title(run) for run in runs if run]
    return sorted(joined, key=len, reverse=True)[:3]


def join_title(lines: list[str]) -> str:
    """Join the lines of a title; one that ends in a hyphen goes on without a space."""
    return re.sub(r"(?<=\w-) (?=\w)", "", " ".join(normalise("\n".join(lines)).split()))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_TITLE_CHARACTERS]
