"""From Markdown to what the model and the annotator see."""

import re

# None of these may try the same signs again from each place, or a file of nothing but brackets, dashes or spaces takes
# hours: what one repetition has taken is not given back (`*+`), or ends where the next match could begin.
# What PyMuPDF4LLM writes in place of a picture, and Markdown's own images.
PICTURES = re.compile(r"\*\*==> (?:(?!\*\*==> ).)*? <==\*\*(?:<br>)?|!\[[^\[\]]*+\]\([^)\[]*+\)")
LINKS = re.compile(r"\[([^\[\]]*+)\]\([^)\s\[]*+\)")
TABLE_RULES = re.compile(r"^(?=[^\n]*---)(?:[|:-]|[^\S\n])++$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[^\S\n]+(.[^\s#]*+(?:(?:#|[^\S\n])++[^\s#]++)*+)(?:#|[^\S\n])*+$", re.MULTILINE)
TAGS = re.compile(r"</?(?:br|sup|sub|u|mark)\s*/?>")

MAX_TITLE_CHARACTERS = 300
# What word processors and libraries write into a PDF's title when nobody did.
NO_TITLES = re.compile(
    r"^(untitled|title|anonymous|\(.*\)|microsoft word.*|.*\.(docx?|tex|dvi|pdf|indd|rtf|odt))$", re.I
)

# Below this share of letters among all signs that are no spaces, a text is no prose: broken fonts, dumps.
MIN_LETTERS = 0.5


def plain(markdown: str) -> str:
    """Take the Markdown signs out of a text and keep its words, lines and paragraphs."""
    text = LINKS.sub(r"\1", PICTURES.sub("", markdown.replace("\0", "")))
    text = TABLE_RULES.sub("", HEADING.sub(r"\1", TAGS.sub(" ", text)))
    text = re.sub(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|`", "", text).replace("|", " ")
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n ?(?:\n ?)+", "\n\n", text).strip()


def find_title(metadata_title: str, markdown: str) -> str:
    """Return a document's title: the file's own if it is one, else the first heading, else the first line."""
    own = " ".join(metadata_title.split())
    if own and not NO_TITLES.match(own):
        return own[:MAX_TITLE_CHARACTERS]
    if heading := HEADING.search(markdown):
        return " ".join(plain(heading.group(1)).split())[:MAX_TITLE_CHARACTERS]
    first, _, _ = plain(markdown).partition("\n")
    return first[:MAX_TITLE_CHARACTERS]


def judge(body: str) -> tuple[str, str | None]:
    """Return the status of a text that was read (`ok`, `empty` or `garbage`) and, if not ok, why."""
    signs = [sign for sign in body if not sign.isspace()]
    if not signs:
        return "empty", "no text found: a scan without a text layer?"
    letters = sum(sign.isalpha() for sign in signs) / len(signs)
    if letters < MIN_LETTERS:
        return "garbage", f"only {letters:.0%} of its signs are letters"
    return "ok", None


def compose(title: str, metadata: dict[str, str], body: str) -> str:
    """Join title, the filled metadata columns (`keywords: …`) and body into the text of a document.

    A body that opens with its title loses that line, so that the title stands there once.
    """
    first, _, rest = body.partition("\n")
    if title and " ".join(first.split()).casefold() == title.casefold():
        body = rest.lstrip()
    lines = [title, *(f"{name}: {value}" for name, value in metadata.items() if value)]
    return "\n\n".join(part for part in ("\n".join(line for line in lines if line), body) if part)
