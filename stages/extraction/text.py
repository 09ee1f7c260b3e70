"""From Markdown to what the model and the annotator see."""

import re

from stages.extraction.hyphens import join_lines
from stages.extraction.params import ExtractParams
from stages.extraction.references import without_references
from stages.extraction.signs import normalise
from stages.extraction.tokens import cut

# None of these may try the same signs again from each place, or a file of nothing but brackets, dashes or spaces takes
# hours: what one repetition has taken is not given back (`*+`), or ends where the next match could begin.
# What PyMuPDF4LLM writes in place of a picture or around the text in one, and Markdown's own images.
PICTURES = re.compile(
    r"\*\*==> (?:(?!\*\*==> ).)*? <==\*\*(?:<br>)?|<!-- (?:Start|End) of picture text -->(?:<br>)?"
    r"|!\[[^\[\]]*+\]\([^)\[]*+\)"
)
LINKS = re.compile(r"\[([^\[\]]*+)\]\([^)\s\[]*+\)")
TABLE_RULES = re.compile(r"^(?=[^\n]*---)(?:[|:-]|[^\S\n])++$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[^\S\n]+(.[^\s#]*+(?:(?:#|[^\S\n])++[^\s#]++)*+)(?:#|[^\S\n])*+$", re.MULTILINE)
TAGS = re.compile(r"</?(?:br|sup|sub|u|mark)\s*/?>")


def to_body(markdown: str, params: ExtractParams) -> tuple[str, int]:
    """Return the plain text of a document, at most `max_tokens` tokens of it, and their number.

    It depends on `markdown`, `max_tokens` and `drop_references` alone, so that it can be made again from stored
    Markdown.
    """
    text = normalise(markdown)
    if params.drop_references:
        text = without_references(text)
    return cut(join_lines(plain(text)), params.max_tokens)


def plain(markdown: str) -> str:
    """Take the Markdown signs out of a text and keep its words, lines and paragraphs."""
    text = LINKS.sub(r"\1", PICTURES.sub("", markdown.replace("\0", "")))
    text = TABLE_RULES.sub("", HEADING.sub(r"\1", TAGS.sub(" ", text)))
    text = re.sub(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|`", "", text).replace("|", " ")
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n ?(?:\n ?)+", "\n\n", text).strip()


def compose(title: str, metadata: dict[str, str], body: str) -> str:
    """Join title, the filled metadata columns (`keywords: …`) and body into the text of a document.

    A body that opens with its title loses that line, so that the title stands there once.
    """
    first, _, rest = body.partition("\n")
    if title and " ".join(first.split()).casefold() == title.casefold():
        body = rest.lstrip()
    lines = [title, *(f"{name}: {value}" for name, value in metadata.items() if value)]
    return "\n\n".join(part for part in ("\n".join(line for line in lines if line), body) if part)
