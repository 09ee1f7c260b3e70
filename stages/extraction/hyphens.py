"""Words cut at the end of a line: joined, unless their hyphen is a real one."""

import re
from collections import Counter

WORD = re.compile(r"[^\W_]+(?:[-\u2010][^\W_]+)*")
# Of a chain of hyphens eight parts at most: each of them would be tried as the beginning of all that follow.
AT_LINE_END = re.compile(r"(?<![^\W_])([^\W_]+(?:-[^\W_]+){0,8})[-\u2010][^\S\n]*\n[^\S\n]*([^\W_]+)")
# "pre- and postwar": the hyphen stands for a word that comes later.
CONJUNCTIONS = {"and", "or", "to", "und", "oder", "bis", "bzw", "et", "ou", "y", "o", "e", "en", "of"}
SHORT = 3  # letters: "state-of-the-", "end-to-" go on with a hyphen; syllables this short are rare in them


def known_words(text: str) -> Counter[str]:
    """Count the words of `text` in lower case; a hyphenated compound is one word."""
    return Counter(word.replace("\u2010", "-") for word in WORD.findall(text.lower()))


def join_lines(text: str) -> str:
    """Join the words that are cut at the end of a line: "exam-", "ple" becomes "example".

    The hyphen stays before a digit or a capital ("COVID-", "19"), after a single letter or a digit, in a chain
    ("state-of-the-", "art"), and where the text writes the word with it elsewhere; not where it writes the joined word.
    """
    if "-\n" not in text and not AT_LINE_END.search(text):
        return text
    words = known_words(text)
    return AT_LINE_END.sub(lambda cut: cut[0] if _stands(cut) else _whole(cut[1], cut[2], words), text)


def cut_words(raw: str) -> dict[str, str]:
    """Return how the words cut at line ends of `raw` (a document as printed) may stand in its Markdown, and should.

    Both engines join lines without a look at the word: "well-", "known" is "wellknown" in their Markdown. After a
    single letter, in tables and in captions they leave a space instead: "To- tal". The result is for `restore`.
    """
    cuts = [(cut[1], cut[2]) for cut in AT_LINE_END.finditer(raw) if not _stands(cut)]
    words = known_words(raw) if cuts else Counter()
    wrong: dict[str, str] = {}
    for left, right in cuts:
        wrong[f"{left}- {right}"] = whole = _whole(left, right, words)
        if whole != left + right:
            wrong[left + right] = whole
    return wrong


def restore(markdown: str, wrong: dict[str, str]) -> str:
    """Put the words that `cut_words` found right in `markdown`."""
    found = [word for word in wrong if word in markdown]
    if not found:
        return markdown
    words = "|".join(re.escape(word) for word in sorted(found, key=lambda word: (-len(word), word)))
    return re.sub(rf"(?<![^\W_])(?:{words})(?![^\W_])", lambda word: wrong[word[0]], markdown)


def _stands(cut: re.Match[str]) -> bool:
    return cut[2].lower() in CONJUNCTIONS


def _whole(left: str, right: str, words: Counter[str]) -> str:
    joined, hyphenated = left + right, f"{left}-{right}"
    # The two halves of this very cut are counted as words of their own, so neither form is seen in it.
    if words[joined.lower()] != words[hyphenated.lower()]:
        return max(joined, hyphenated, key=lambda word: words[word.lower()])
    chain = "-" in left and len(left.rpartition("-")[2]) <= SHORT
    # No word is cut after its first letter: "X-ray", "e-mail".
    real = chain or len(left) == 1 or right[0].isdigit() or right[0].isupper() or left[-1].isdigit()
    return hyphenated if real else joined
