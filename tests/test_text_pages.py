"""What pages add to a text and what they take from it: running heads, cut words, titles, scans."""

from typing import Any

import pymupdf
import pytest

from stages.extraction.engines import page_reader
from stages.extraction.ocr import ocr_version
from stages.extraction.reading import read
from stages.extraction.running import drop_running
from stages.extraction.titles import find_title, largest_text
from stages.runtime.errors import UserError
from tests.small_pdfs import FAST, LAYOUT, PROSE, shorter

try:
    TESSERACT = bool(pymupdf.get_tessdata())
except RuntimeError:
    TESSERACT = False

OCR = FAST.model_copy(update={"ocr": True})
SUBJECTS = ("tides", "cattle", "lanterns", "letters", "timber", "weather")


def page_of(subject: str) -> str:
    return f"This page is about {subject}.\n\n" + "\n".join(f"Line {n} says more of {subject}." for n in "abcdefg")


def report(pages: int = 4) -> pymupdf.Document:
    """Make a PDF with a running head, a running foot and a page number, as a word processor sets them."""
    document = pymupdf.open()
    for number in range(pages):
        page = document.new_page()
        page.insert_text((72, 40), "Island Review of Ferries", fontsize=9)
        page.insert_textbox((72, 100, 520, 700), page_of(SUBJECTS[number]), fontsize=11)
        page.insert_text((72, 800), f"Vol. 12, printed 2021 - page {number + 7}", fontsize=9)
    return document


# --- running heads


@pytest.mark.parametrize("params", [FAST, LAYOUT], ids=["fast", "layout"])
def test_running_heads_feet_and_page_numbers_are_dropped(params: Any) -> None:
    result = read(report().tobytes(), ".pdf", params)
    assert [subject in result.markdown for subject in SUBJECTS] == [True] * 4 + [False] * 2
    assert "says more of tides" in result.body
    assert "Island Review" not in result.markdown
    assert "printed 2021" not in result.markdown


@pytest.mark.parametrize("height", [40, 72, 400, 800])
@pytest.mark.parametrize("params", [FAST, LAYOUT], ids=["fast", "layout"])
def test_a_page_of_one_line_is_not_taken_for_a_head(params: Any, height: float) -> None:
    document = pymupdf.open()
    document.new_page().insert_text((72, height), "A notice of one line about the ferries of the island")
    assert read(document.tobytes(), ".pdf", params).body == "A notice of one line about the ferries of the island"


def test_left_and_right_pages_may_have_heads_of_their_own() -> None:
    pages = [f"{'Miller' if n % 2 else 'On Ferries'}\n\n{page_of(SUBJECTS[n])}\n\n{n + 1}" for n in range(5)]
    assert drop_running(pages) == [page_of(SUBJECTS[n]) for n in range(5)]


@pytest.mark.parametrize(
    "pages",
    [
        [f"Page {n}\n\n{page_of('tides')}" for n in range(2)],  # too few pages to tell
        [f"{page_of('tides')}\n\nThe end"] * 5,  # the same page again and again
        [f"Age: {age}\n\n{page_of(SUBJECTS[age % 6])}" for age in (31, 60, 44, 13)],
        [f"Form\n\nName\n\nAge\n\nStreet\n\nTown {n}\n\n{page_of(SUBJECTS[n])}" for n in range(5)],
        [f"# Minutes\n\n{page_of(SUBJECTS[n])}" for n in range(5)],
        [f"|year|tons|\n|---|---|\n|{n}|5|\n\n{page_of(SUBJECTS[n])}" for n in range(5)],
        ["7", "8", "9"],
    ],
    ids=["two pages", "equal pages", "ages", "form", "headings", "tables", "numbers alone"],
)
def test_what_pages_have_in_common_by_their_content_stays(pages: list[str]) -> None:
    assert drop_running(pages) == pages


def test_reading_goes_on_until_the_cleaned_text_fills_max_tokens() -> None:
    """Each page has about 60 tokens and 20 more in its head and foot, which do not count."""
    whole = read(report(6).tobytes(), ".pdf", FAST)
    result = read(report(6).tobytes(), ".pdf", shorter(200))
    assert (result.tokens, result.pages_read < 6) == (200, True)
    assert whole.body.startswith(result.body)


# --- words cut at line ends


@pytest.mark.parametrize("params", [FAST, LAYOUT], ids=["fast", "layout"])
def test_cut_words_of_a_pdf_are_joined_and_real_hyphens_kept(params: Any) -> None:
    document = pymupdf.open()
    page = document.new_page()
    lines = [
        "This is an exam-",
        "ple of a well-",
        "known rule, and well-known it is: COVID-",
        "19 keeps its hyphen, and",
    ]
    for number, line in enumerate([*lines, "so does Navier-", "Stokes in the end of it."]):
        page.insert_text((72, 100 + 13 * number), line, fontsize=11)
    body = " ".join(read(document.tobytes(), ".pdf", params).body.split())
    assert body == (
        "This is an example of a well-known rule, and well-known it is: COVID-19 keeps its hyphen, and "
        "so does Navier-Stokes in the end of it."
    )


def test_a_word_cut_at_the_end_of_a_page_is_joined() -> None:
    document = pymupdf.open()
    for text in ("The first page ends in the mid-", "dle of a word."):
        document.new_page().insert_text((72, 100), text, fontsize=11)
    assert read(document.tobytes(), ".pdf", FAST).body == "The first page ends in the middle of a word."


# --- titles


def page_with(*lines: tuple[str, float]) -> dict[str, Any]:
    """Make a page of lines of the given sizes, above enough text of 11 points, as `Page.get_text("dict")`."""
    document = pymupdf.open()
    page, y = document.new_page(), 60.0
    for text, size in lines:
        y += 1.5 * size
        page.insert_text((72, y), text, fontsize=size)
    page.insert_textbox((72, y + 30, 520, 800), PROSE * 8, fontsize=11)
    return dict(page.get_text("dict", flags=pymupdf.TEXTFLAGS_TEXT))


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ([("On Ferries and", 20), ("Their Passengers", 20), ("A. Miller", 12)], "On Ferries and Their Passengers"),
        ([("Journal of Island Studies", 26), ("On Ferries", 20)], "On Ferries"),
        ([("ARTICLE", 24), ("On Ferries", 20), ("T", 40)], "On Ferries"),
        ([("Self-", 20), ("Similarity", 20)], "Self-Similarity"),
        ([("Nothing stands out", 11)], ""),
    ],
)
def test_the_title_is_the_largest_text_on_page_one(lines: list[tuple[str, float]], title: str) -> None:
    assert largest_text(page_with(*lines)) == title


def test_the_largest_text_comes_after_the_files_own_title_and_before_a_heading() -> None:
    assert find_title("On Boats", "# Heading", "On Ferries") == "On Boats"
    assert find_title("untitled", "# Heading", "On Ferries") == "On Ferries"
    assert find_title("", "# The \ufb01rst\u00a0heading", "") == "The first heading"


# --- OCR


def scan() -> bytes:
    """Make a PDF that is a picture of a page."""
    page = pymupdf.open().new_page()
    page.insert_textbox((72, 90, 520, 780), PROSE * 12, fontsize=11)
    document = pymupdf.open()
    copy = document.new_page()
    copy.insert_image(copy.rect, pixmap=page.get_pixmap(dpi=150))
    return bytes(document.tobytes())


def test_a_scan_is_empty_with_a_hint_and_needs_no_tesseract() -> None:
    result = read(scan(), ".pdf", FAST)
    assert (result.status, result.error) == ("empty", "no text found: a scan without a text layer? Try extract.ocr")
    assert ocr_version(FAST) is None


@pytest.mark.skipif(not TESSERACT, reason="Tesseract is not installed")
@pytest.mark.parametrize("engine", ["fast", "layout"])
def test_tesseract_reads_a_scan_the_same_each_time_and_only_scans(engine: str) -> None:
    params = OCR.model_copy(update={"engine": engine})
    result = read(scan(), ".pdf", params)
    assert (result.status, result.language) == ("ok", "en")
    assert result.body.count("The ferry left the harbour") == 12
    assert read(scan(), ".pdf", params) == result
    assert str(ocr_version(params)).startswith("tesseract eng ")
    text = report().tobytes()
    assert read(text, ".pdf", params) == read(text, ".pdf", params.model_copy(update={"ocr": False}))


@pytest.mark.parametrize(
    ("folder", "error"), [(None, "apt-get install tesseract-ocr"), ("", "English data is missing")]
)
def test_without_tesseract_ocr_is_refused_by_name(
    folder: str | None, error: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pymupdf, "get_tessdata", lambda: None if folder is None else str(tmp_path))
    with pytest.raises(UserError, match=error):
        ocr_version(OCR)


def test_fast_looks_at_the_first_pages_alone_for_the_sizes_of_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    document = pymupdf.open()
    for _ in range(30):
        document.new_page().insert_text((72, 100), PROSE, fontsize=11)
    loaded: list[int] = []
    load = pymupdf.Document.load_page

    def note(document: pymupdf.Document, page: int) -> pymupdf.Page:
        loaded.append(page)
        return load(document, page)

    monkeypatch.setattr(pymupdf.Document, "load_page", note)
    page_reader(document, FAST)(0)
    assert loaded
    assert max(loaded) < 10
