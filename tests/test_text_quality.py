"""Text as it is meant: signs, hyphens, references; what is garbage, and which language it is."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.extraction.hyphens import cut_words, join_lines, restore
from stages.extraction.params import ExtractParams
from stages.extraction.quality import judge
from stages.extraction.references import without_references
from stages.extraction.signs import normalise
from stages.extraction.text import plain, to_body
from tests.small_pdfs import FAST

ENGLISH = """The ferry left the harbour at six and came back with the mail. Nobody on the island had expected it before
noon, because the wind had turned to the north during the night and the pilots do not like the narrow channel then.
We asked forty passengers how often they travel, what they carry, and whether they would pay more for a second boat."""


def without(*names: str) -> ExtractParams:
    return FAST.model_copy(update=dict.fromkeys(names, True))


# --- signs


@pytest.mark.parametrize(
    ("odd", "plain_text"),
    [
        ("of\ufb01ce \ufb02ow di\ufb03cult", "office flow difficult"),
        ("\uff26\uff35\uff2c\uff2c \uff11\uff12", "FULL 12"),
        ("\U0001d400\U0001d41b\U0001d7d1 \u211d", "Ab3 R"),
        ("\ufeb3\ufefc\ufee1", "\u0633\u0644\u0627\u0645"),
        ("\u2f00\u2f08 \uff76\uff9e", "\u4e00\u4eba \u30ac"),
        ("a\u00a0b\u2009c\u3000d", "a b c d"),
        ("soft\u00adware soft\u00ad\nware", "software software"),
        ("ze\u200bro \ufeffwidth\u2060 \u200edir", "zero width dir"),
        ("bell\x07 page\x0cnext\r\nline\u2028end", "bell page\nnext\nline\nend"),
        ("co\u2010op e\u0301 \u212b", "co-op \u00e9 \u00c5"),
        ("them\uffffcan la\u200dtin", "them can latin"),
    ],
)
def test_signs_become_what_they_mean(odd: str, plain_text: str) -> None:
    assert normalise(odd) == plain_text


@pytest.mark.parametrize(
    "text",
    [
        "x\u00b2 H\u2082O \u00bd \u2122 \u2460 \u2163 \u2116 5 \u2026 \u201cquoted\u201d \u2013 \u2014",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: the joiner divides a word's parts
        "\u0915\u094d\u200d\u0937",  # Devanagari: the joiner chooses a form
        "\U0001f469\u200d\U0001f52c tab\there",
    ],
)
def test_signs_that_mean_something_else_when_changed_stay(text: str) -> None:
    assert normalise(text) == text


signs = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("ab \n\r\u00ad\u200b\u200c\u200d\u0301\ufb01\ufb1d\uff76\uff9e\ufdfa\u06cc\U0001d400"),
    ),
    max_size=30,
)


@example("\ufb1d\u200c\u0301")
@given(signs)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(signs)
def test_normalising_loses_no_letter_and_no_digit(text: str) -> None:
    def letters(some: str) -> list[str]:
        return [sign for sign in unicodedata.normalize("NFKC", some) if sign.isalnum()]

    # Joiners between a letter and its accent keep them apart before, not after.
    bare = re.sub("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\x00-\x1f\x7f-\x9f]", "", text)
    assert letters("".join(unicodedata.normalize("NFD", bare))) == letters(normalise(text))


# --- hyphens


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("an exam-\nple of it", "an example of it"),
        ("an exam-  \n  ple of it", "an example of it"),
        ("COVID-\n19 and Navier-\nStokes", "COVID-19 and Navier-Stokes"),
        ("a state-of-the-\nart method", "a state-of-the-art method"),
        ("a well-known one, a well-\nknown other", "a well-known one, a well-known other"),
        ("a network, the network, net-work; one net-\nwork", "a network, the network, net-work; one network"),
        ("e-\nmail", "e-mail"),
        ("pre- and post-war, pre-\nand post-war", "pre- and post-war, pre-\nand post-war"),
        ("- an item\n- another", "- an item\n- another"),
        ("a dash -\nthen words", "a dash -\nthen words"),
        ("a paragraph-\n\nends", "a paragraph-\n\nends"),
    ],
)
def test_words_cut_at_a_line_end_are_joined_and_real_hyphens_stay(text: str, joined: str) -> None:
    assert join_lines(text) == joined


def test_a_chain_of_hyphens_is_no_trap() -> None:
    """It took minutes when each part was tried as the beginning of all that follow."""
    chain = "ab-" * 50_000
    assert join_lines(f"{chain}c exam-\nple") == f"{chain}c example"


def test_hyphens_that_an_engine_took_out_are_put_back() -> None:
    printed = "the well-\nknown COVID-\n19 exam-\nple, a well-known X-\nray; a To-\ntal of uncut words"
    markdown = "the wellknown COVID19 example, a well-known X- ray; |To- tal| of uncut words, wellknownness"
    right = "the well-known COVID-19 example, a well-known X-ray; |Total| of uncut words, wellknownness"
    assert restore(markdown, cut_words(printed)) == right


@given(st.text("ab-C1 \n", max_size=30))
def test_joining_lines_changes_nothing_but_line_ends(text: str) -> None:
    assert re.sub(r"[-\s]", "", join_lines(text)) == re.sub(r"[-\s]", "", text)


# --- references


@pytest.mark.parametrize(
    ("markdown", "left"),
    [
        ("# T\n\ntext\n\n## References\n\nA. 2001\n\nB. 2002", "# T\n\ntext"),
        ("text\n\n## 7. **References**\n\nA. 2001\n\n## Appendix\n\nmore", "text\n\n## Appendix\n\nmore"),
        ("# T\n\n# Bibliography\n\n## Primary\n\nA\n\n# Annex\n\nmore", "# T\n\n# Annex\n\nmore"),
        ("text\n\n**Works cited**\n\nA. 2001\n\n**Appendix A**\n\nmore", "text\n\n**Appendix A**\n\nmore"),
        ("text\n\nREFERENCES\n\nA. 2001\n\nAPPENDIX A\n\nmore", "text\n\nAPPENDIX A\n\nmore"),
        ("text\n\nLiteraturverzeichnis\n====\n\nA. 2001", "text"),
        ("text\n\n# 参考文献\n\nA. 2001", "text"),
        ("## References to the sea\n\ntext\n\n## Literature review\n\nmore", None),
        ("See the references\n\nand the literature.\n\nmore", None),
        ("no heading at all", None),
    ],
)
def test_references_go_from_their_heading_to_the_next_one(markdown: str, left: str | None) -> None:
    assert without_references(markdown) == (markdown if left is None else left)


def test_references_stay_in_the_body_unless_they_are_to_be_dropped() -> None:
    markdown = "# Boats\n\nof\ufb01ce\n\n# References\n\nA. 2001"
    assert to_body(markdown, FAST)[0] == "Boats\n\noffice\n\nReferences\n\nA. 2001"
    assert to_body(markdown, without("drop_references")) == ("Boats\n\noffice", 2)


def test_the_comments_around_text_in_a_picture_are_no_text() -> None:
    assert plain("<!-- Start of picture text -->\nwords<!-- End of picture text --><br>") == "words"


# --- garbage and language


def shifted(text: str, by: int) -> str:
    """Shift each letter as a font with a wrong table of characters does."""
    turned = {ord(first) + n: ord(first) + (n + by) % 26 for first in "aA" for n in range(26)}
    return text.translate(turned)


@pytest.mark.parametrize("by", range(1, 26))
def test_shifted_letters_are_garbage(by: int) -> None:
    status, error, language = judge(shifted(ENGLISH, by))
    assert (status, language) == ("garbage", None)
    assert "in no language" in str(error)


def test_dumps_of_glyph_numbers_are_garbage() -> None:
    assert judge("".join(f"(cid:{ord(sign)})" for sign in ENGLISH))[0] == "garbage"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        ("Die Donaudampfschifffahrtsgesellschaft und ihre Hauptversammlungsbeschlüsse der Geschäftsjahre. " * 9, "de"),
        ("Laiva lähti satamasta kuudelta aamulla ja palasi postin kanssa illalla kotisatamaansa takaisin. " * 9, "fi"),
        ("渡船六点离开港口,带着邮件回来了。岛上没有人想到它会在中午之前到达。" * 9, "zh"),
        ("غادرت العبارة الميناء في السادسة صباحا وعادت بالبريد في المساء إلى الجزيرة. " * 9, "ar"),
        ("नौका छह बजे बंदरगाह से निकली और शाम को डाक लेकर द्वीप पर लौट आई। " * 9, "hi"),
        ("short", None),
        ("漢字", None),
    ],
)
def test_languages_are_told_and_are_no_garbage(text: str, language: str | None) -> None:
    assert judge(text) == ("ok", None, language)


def test_code_and_tables_within_prose_are_no_garbage() -> None:
    code = "\n".join(f"def read_{name}(self, params: ExtractParams) -> None: self._{name} = params" for name in "abcde")
    numbers = "\n".join(f"{n} {n * 1.37:.2f} {n * n}" for n in range(25))
    assert judge(f"{ENGLISH}\n{code * 4}")[0] == "ok"
    assert judge(f"{ENGLISH}\n{numbers}")[::2] == ("ok", "en")


@given(st.text(max_size=200))
def test_every_text_is_judged(text: str) -> None:
    status, error, language = judge(text)
    assert status in {"ok", "empty", "garbage"}
    assert (error is None) == (status == "ok")
    assert language is None or (status == "ok" and len(language) == 2)
