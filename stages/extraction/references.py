"""The list of references, which says little about a document's topic and much in its tokens."""

import re

NAMES = (
    "references|references cited|references and notes|bibliography|(?:literature|works) cited|cited literature"
    "|selected (?:references|bibliography)|literature|literatur|literaturverzeichnis|quellen|quellenverzeichnis"
    "|références|références bibliographiques|bibliographie|referencias|referencias bibliográficas|bibliografía"
    "|referências|referências bibliográficas|bibliografia|riferimenti bibliografici|riferimenti"
    "|literatuur|referenties|referenser|litteratur|literatura|список литературы|литература|参考文献|參考文獻|참고문헌"
)
NUMBER = r"(?:(?:\d+|[A-Z]|[IVX]+)(?:\.\d+)*[.):]?\s+)?"
# What may follow it in a text file, where nothing else marks a heading.
AFTERWARDS = re.compile(rf"^{NUMBER}(?:appendi|annex|anhang|acknowledg|supplement|about the author)", re.I)
NAMED = re.compile(rf"^{NUMBER}(?:{NAMES})\s*:?$", re.I)
MARKS = re.compile(r"\]\([^)\[]*+\)|[*_`\[\]]|<[^>]+>")
# A heading of Markdown, or a line that is bold as a whole: what `fast` makes of a heading in the text's own size.
# As in text.py, no repetition gives back what it has taken.
HEADINGS = re.compile(
    r"^(?:(#{1,6})[^\S\n]+(.[^\s#]*+(?:(?:#|[^\S\n])++[^\s#]++)*+)(?:#|[^\S\n])*+|(\*\*[^\n]+\*\*)[^\S\n]*+)$", re.M
)
# An underlined one, and a line that says nothing else between two empty ones: text files know no other headings.
UNMARKED = re.compile(r"(?:\A|(?<=\n))(?=[^\n]{4,60}\n)([^\S\n]*\S[^\n]*)\n(?=[-=]{3,}[^\S\n]*\n|[^\S\n]*\n)")
BOLD = 7  # below every level of "#"


def without_references(markdown: str) -> str:
    """Return `markdown` without its lists of references.

    One goes from a heading that says so (in one of a dozen languages) to the next heading of the same or a higher
    level, so that an appendix after it stays, or to the end.
    """
    headings = [(found.start(), found.end(), *_heading(found)) for found in HEADINGS.finditer(markdown)]
    known = {start for start, *_ in headings}
    for found in UNMARKED.finditer(markdown):
        name = found[1].strip()
        # A last word alone on its page ("literature.") is no heading.
        if name[0].islower() or found.start() in known:
            continue
        if NAMED.match(name) or AFTERWARDS.match(name):
            headings.append((found.start(), found.end(), BOLD, name))
    headings.sort()
    kept, at = [], 0
    for place, (start, _, level, name) in enumerate(headings):
        if start < at or not NAMED.match(name):
            continue
        following = (begin for begin, _, other, _ in headings[place + 1 :] if other <= level)
        kept.append(markdown[at:start])
        at = next(following, len(markdown))
    return "".join([*kept, markdown[at:]]).rstrip() if kept else markdown


def _heading(found: re.Match[str]) -> tuple[int, str]:
    marks, name, bold = found.groups()
    return (len(marks) if marks else BOLD), MARKS.sub("", name or bold).strip()
