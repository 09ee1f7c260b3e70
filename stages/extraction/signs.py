"""Signs as they are meant: ligatures, full-width and presentation forms, odd spaces, invisible signs."""

import re
import unicodedata

# Where characters live that NFKC changes without changing what is said: general punctuation, radicals,
# presentation forms, full-width forms, mathematical alphabets. Elsewhere it costs meaning (x², ½, ™, Ⅳ).
FORMS = (
    *range(0x00A0, 0x00B6),
    *range(0x2000, 0x2030),
    *range(0x2102, 0x2150),
    *range(0x2E80, 0x3001),
    *range(0xFB00, 0xFDF0),
    *range(0xFE30, 0xFFEF),
    *range(0x1D400, 0x1D800),
    *range(0x1EE00, 0x1EF00),
)
SAFE = {"<font>", "<noBreak>", "<wide>", "<narrow>", "<small>", "<vertical>"}
SAFE |= {"<initial>", "<medial>", "<final>", "<isolated>"}
# Tagged only `<compat>`, as "…" and "№" are too: the micro sign, spaces, radicals, ligatures of letters.
LETTERS_AND_SPACES = (0x00B5, *range(0x2000, 0x200B), *range(0x2E80, 0x3000), *range(0xFB00, 0xFB50))


def _table() -> dict[str, str]:
    table = {}
    for code in FORMS:
        sign = chr(code)
        tag = unicodedata.decomposition(sign).partition(" ")[0]
        plain = unicodedata.normalize("NFKC", sign)
        # An accent without its letter is written as a space and the accent: left as it is.
        if (tag in SAFE or code in LETTERS_AND_SPACES) and (len(plain) == 1 or plain[0] != " "):
            table[sign] = plain
    table |= dict.fromkeys(map(chr, (*range(0x20), *range(0x7F, 0xA0))), "")
    # Soft hyphens, zero-width signs, marks of direction, invisible operators of formulas.
    invisible = (0xAD, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
    table |= dict.fromkeys(map(chr, invisible), "")
    table |= dict.fromkeys("\x0b\x0c\x85\u2028\u2029", "\n")
    table |= {"\r": "\n", "\u2010": "-", "\u2011": "-", "\u1680": " "}
    # What PDFs give for a glyph that has no character.
    table |= {"\ufffe": " ", "\uffff": " "}
    del table["\t"], table["\n"]
    return table


TABLE = _table()
# Two searches: a set of signs that goes beyond U+FFFF is forty times slower in Python's re.
ODD = re.compile("[" + "".join(re.escape(sign) for sign in sorted(TABLE) if sign <= "\uffff") + "]")
ALPHABETS = re.compile("[\U0001d400-\U0001d7ff\U0001ee00-\U0001eeff]")
BROKEN_BY_SOFT_HYPHEN = re.compile(r"\u00ad[^\S\n]*\n[^\S\n]*(?=\w)")
# Persian and Indic scripts and emoji need the zero-width joiners; in a Latin text they are rubbish.
JOINERS = re.compile(r"[\u200c\u200d](?<![\u0600-\u1cff\u2190-\uffff\U00010000-\U0010ffff].)")


def normalise(text: str) -> str:
    """Return `text` in NFC, and in NFKC where that changes no meaning; invisible signs and control codes are gone.

    "ﬁ" becomes "fi", letters of full width or of the mathematical alphabets become plain ones; x², ½, ™, № and … stay.
    Line breaks become "\\n", odd spaces " ".
    Normalising twice is normalising once (Unicode Standard Annex 15 for the forms).
    """
    if text.isascii() and not ODD.search(text):
        return text
    text = BROKEN_BY_SOFT_HYPHEN.sub("", text.replace("\r\n", "\n"))
    text = ODD.sub(lambda sign: TABLE[sign[0]], text)
    text = ALPHABETS.sub(lambda sign: TABLE.get(sign[0], sign[0]), text)
    return unicodedata.normalize("NFC", JOINERS.sub("", unicodedata.normalize("NFC", text)))
