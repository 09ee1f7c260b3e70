"""Text that came with documents and labels, made safe to stand in a page beside our own."""

import re

# Signs that turn the direction of text past their own end (Unicode Standard Annex 9: embeddings, overrides, isolates).
# A page isolates foreign text, and one stray "pop isolate" in it would end that. Marks (U+200E, U+200F, U+061C) stay.
DIRECTIONS = "\u202a-\u202e\u2066-\u2069"
# Control characters but tab and line feed, lone surrogates and noncharacters, none of which HTML may hold.
FORBIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff{DIRECTIONS}]")
LINE_ENDS = re.compile("\r\n?|\f|\x85|\u2028|\u2029")


def showable(text: str) -> str:
    """Return `text` with line feeds for all line ends, and a visible sign (U+FFFD) for what a page cannot hold."""
    return FORBIDDEN.sub("\ufffd", LINE_ENDS.sub("\n", text))


def short(text: str, most: int = 80) -> str:
    """Return `text` on one line, at most `most` characters, an ellipsis for the rest."""
    line = " ".join(text[: 2 * most].split())
    return line if len(line) <= most and len(text) <= 2 * most else line[: most - 1] + "…"
