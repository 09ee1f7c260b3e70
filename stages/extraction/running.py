"""Running heads, running feet and page numbers: what a document repeats at the edges of its pages."""

import re
from collections import Counter
from itertools import takewhile

BLOCKS = re.compile(r"\n[^\S\n]*\n\s*")
NUMBER = re.compile(r"\d+")
# Signs of Markdown and of links, which break one running foot differently from page to page.
MARKUP = re.compile(r"\]\([^)\s\[]*+\)|[\[*_`\]]")
MIN_PAGES = 3
# What repeats deeper than so many blocks, or makes up more than this share of the pages, is content (forms, tables).
DEPTH = 3
# Characters up to which a block may count the pages.
LONGEST = 300
MAX_SHARE = 0.3


def drop_running(pages: list[str]) -> list[str]:
    """Take running heads, feet and page numbers out of `pages` (Markdown).

    A block at the top or bottom of a page is one if it is on at least half of the pages (left and right pages may
    have one each), with the same numbers or with one that counts the pages. Headings, tables and list items stay, and
    so does everything if there are fewer than 3 pages or if the repetition goes on into the page: a form filled in
    again and again repeats its content.
    """
    if len(pages) < MIN_PAGES:
        return pages
    split = [[block for block in BLOCKS.split(page.strip()) if block.strip()] for page in pages]
    top = _running(split, from_end=False)
    bottom = _running(split, from_end=True)
    kept = [blocks[first : len(blocks) - last] for blocks, first, last in zip(split, top, bottom, strict=True)]
    if sum(map(_size, kept)) < (1 - MAX_SHARE) * sum(map(_size, split)):
        return pages
    # Pages without a running head keep their bytes, white space included.
    return [
        "\n\n".join(rest) if len(rest) < len(blocks) else page
        for page, blocks, rest in zip(pages, split, kept, strict=True)
    ]


def _running(pages: list[list[str]], *, from_end: bool) -> list[int]:
    """Return for each page how many blocks at one edge are running ones."""
    edges = [(blocks[::-1] if from_end else blocks)[: DEPTH + 1] for blocks in pages]
    forms = [[_forms(block, number) for block in edge] for number, edge in enumerate(edges)]
    seen = Counter(form for edge in forms for form in set().union(*edge))
    needed = max(2, len(pages) // 2)
    counts = [len(list(takewhile(lambda block: any(seen[form] >= needed for form in block), edge))) for edge in forms]
    deep = sum(count > DEPTH for count in counts) >= needed
    return [0 if deep else min(count, DEPTH) for count in counts]


def _forms(block: str, page: int) -> set[str]:
    """Return what a block may have in common with the same one on other pages; nothing if it is content."""
    if block.startswith(("#", "|", "-", "+", "```")):
        return set()
    text = " ".join(MARKUP.sub("", block).split())
    if len(text) > LONGEST:
        return {text}
    # A number that counts the pages differs from theirs by the same amount on each.
    counting = {
        f"{text[: found.start()]}\0{int(found[0]) - page}\0{text[found.end() :]}"
        for found in NUMBER.finditer(text)
        if len(found[0]) <= 5
    }
    return {text, *counting} - {""}


def _size(blocks: list[str]) -> int:
    return sum(map(len, blocks))
