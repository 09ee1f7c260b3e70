"""The file that a person and the review page write in turns: no row is ever lost, nothing else changes."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.reviewing import table as module
from stages.reviewing.table import ChangedMeanwhileError, HandTable, edit
from stages.runtime.errors import UserError

COLUMNS = ("document_id", "class")
HEADER = "document_id,class\n"
# Signs that CSV quotes or that end lines in one sense or another; ids are names of files, so hardly any is impossible.
WORDS = st.text(alphabet='ab,";\n\r \u2028é', min_size=1, max_size=6).filter(lambda word: word.strip(" \n\r\u2028"))
ROWS = st.dictionaries(WORDS, WORDS, max_size=5)


def written(rows: dict[str, str], ending: str = "\n") -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([COLUMNS, *rows.items()])
    return buffer.getvalue()


def parsed(text: str) -> dict[str, str]:
    _, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    return {row[0]: row[1] for row in rows}


@pytest.fixture
def table(tmp_path: Path) -> HandTable:
    (tmp_path / "overrides.csv").write_text(HEADER + "a,bread\nb,rail\n")
    return HandTable(tmp_path / "overrides.csv", COLUMNS)


@given(rows=ROWS, document=WORDS, label=WORDS, ending=st.sampled_from(["\n", "\r\n"]))
def test_a_decision_is_the_only_change_and_taking_a_new_one_back_leaves_the_same_bytes(
    rows: dict[str, str], document: str, label: str, ending: str
) -> None:
    before = written(rows, ending)
    after = edit(before, COLUMNS, document, label)
    assert list(parsed(after).items()) == list({**rows, document: label}.items())
    if document not in rows:
        assert after.startswith(before)
        assert edit(after, COLUMNS, document, None) == before


def test_what_people_leave_in_a_file_stays_as_it_is() -> None:
    text = '\ufeffclass, document_id ,note\r\n\r\nbread,"a, b","why,\r\nhere"\r\n,,\r\nrail,c'
    assert edit(text, COLUMNS, "a, b", "rail") == text.replace("bread,", "rail,")
    assert edit(text, COLUMNS, "d", "rail") == text + "\r\nrail,d,\r\n"
    assert edit(text, COLUMNS, "c", None) == text.removesuffix("rail,c")


def test_a_row_is_written_in_place_and_taken_out(table: HandTable) -> None:
    table.change("a", "bread", "rail")
    assert table.path.read_text() == HEADER + "a,rail\nb,rail\n"
    table.change("a", "rail", None)
    table.change("c", None, "bread")
    assert table.read() == {"b": "rail", "c": "bread"}
    assert list(table.path.parent.iterdir()) == [table.path]


@pytest.mark.parametrize(("document", "before"), [("a", None), ("a", "rail"), ("c", "rail")])
def test_a_row_that_someone_else_has_written_is_left(table: HandTable, document: str, before: str | None) -> None:
    content = table.path.read_bytes()
    with pytest.raises(ChangedMeanwhileError) as fault:
        table.change(document, before, "hats")
    assert fault.value.found == table.read().get(document)
    assert table.path.read_bytes() == content


def test_what_an_editor_saves_while_a_row_is_written_is_kept(table: HandTable, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def edit_while_another_saves(text: str, *arguments: str) -> str:
        if not saved:
            saved.append(table.path.write_text(HEADER + "b,bread\nz,rail\n"))
        return edit(text, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "edit", edit_while_another_saves)
    table.change("c", None, "bread")
    assert table.path.read_text() == HEADER + "b,bread\nz,rail\nc,bread\n"


def test_a_file_that_changes_all_the_time_is_named(table: HandTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit_while_another_saves(text: str, *arguments: str) -> str:
        table.path.write_text(table.path.read_text() + "\n")
        return text

    monkeypatch.setattr(module, "edit", edit_while_another_saves)
    with pytest.raises(UserError, match="is being written by another program"):
        table.change("c", None, "bread")


def test_a_link_stays_a_link(table: HandTable) -> None:
    link = table.path.with_name("link.csv")
    link.symlink_to(table.path)
    HandTable(link, COLUMNS).change("c", None, "rail")
    assert link.is_symlink()
    assert table.read()["c"] == "rail"


def test_a_file_broken_meanwhile_is_named_and_not_touched(table: HandTable) -> None:
    table.path.write_text("id,class\na,bread\n")
    with pytest.raises(UserError, match="column 'document_id' is missing"):
        table.change("c", None, "bread")
    assert table.path.read_text() == "id,class\na,bread\n"
