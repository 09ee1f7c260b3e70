"""Reading documents: PDFs, Markdown and text, one by one, in worker processes, as a stage."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pymupdf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.corpus.documents import list_documents
from stages.corpus.tables import DOCUMENTS, read_table
from stages.extract import STATUSES, check_columns, count_lengths, extract, measure, tabulate
from stages.extraction.reading import read
from stages.extraction.stored import read_stored
from stages.extraction.text import compose, plain
from stages.extraction.titles import find_title
from stages.extraction.tokens import CHUNK_CHARACTERS, cut
from stages.runtime.errors import UserError
from tests.conftest import ROOT, edit_params, make_corpus, run_stage
from tests.small_pdfs import FAST, LAYOUT, PROSE, pdf, shorter, slow_pdf, stored


def pdf_without_pages(count: int = 0) -> bytes:
    return (
        b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count %d>>endobj\n"
        b"trailer<</Size 3/Root 1 0 R>>\n%%%%EOF" % count
    )


AES: dict[str, Any] = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "owner_pw": "owner"}


# --- one document


def test_a_pdf_gives_markdown_text_pages_and_tokens() -> None:
    result = read(pdf(PROSE * 3, "A second page."), ".pdf", FAST)
    assert (result.status, result.error) == ("ok", None)
    assert (result.pages, result.pages_read) == (2, 2)
    assert " ".join(result.body.split()) == PROSE * 3 + "A second page."
    assert cut(result.body, 10_000)[1] == result.tokens
    assert "A second page." in result.markdown


def test_the_layout_engine_reads_the_same_words() -> None:
    assert " ".join(read(pdf(PROSE * 3), ".pdf", LAYOUT).body.split()) == (PROSE * 3).strip()


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"", "damaged", "zero bytes"),
        (b"no PDF at all", "damaged", "no PDF that can be opened"),
        (pdf(PROSE)[:300], "damaged", "no PDF that can be opened"),
        (pdf_without_pages(), "damaged", "without pages"),
        (pdf_without_pages(count=3), "damaged", "its list of pages is broken"),
        (pdf(PROSE, user_pw="user", **AES), "encrypted", "needs a password"),
        (pdf(""), "empty", "a scan without a text layer"),
        (pdf("1234 567.8 (90) " * 20), "garbage", "only 0% of its signs are letters"),
        (pdf(PROSE, user_pw="", **AES), "ok", None),
    ],
    ids=["zero bytes", "not a PDF", "truncated", "0 pages", "3 of 0 pages", "password", "scan", "numbers", "owner"],
)
def test_a_pdf_that_cannot_be_used_says_why(content: bytes, status: str, error: str | None) -> None:
    result = read(content, ".pdf", FAST)
    assert result.status == status
    assert result.error is None if error is None else error in str(result.error)


def test_a_broken_page_makes_the_document_damaged_and_names_the_page() -> None:
    document = pymupdf.open(stream=pdf(PROSE, PROSE))
    tree = int(document.xref_get_key(document.pdf_catalog(), "Pages")[1].split()[0])
    document.xref_set_key(tree, "Kids", f"[{tree} 0 R]")
    result = read(document.tobytes(), ".pdf", FAST)
    assert (result.status, result.pages) == ("damaged", 2)
    assert str(result.error).startswith("page 1: ")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=6), st.floats(0.1, 1))
def test_no_damage_to_a_pdf_raises(changes: list[tuple[float, bytes]], keep: float) -> None:
    content = bytearray(WHOLE)
    for place, patch in changes:
        start = int(place * len(content))
        content[start : start + len(patch)] = patch
    assert read(bytes(content[: int(keep * len(content))]), ".pdf", shorter(50)).status in STATUSES


WHOLE = pdf(PROSE, PROSE)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("Über den Fluss".encode(), "Über den Fluss"),
        ("Über den Fluss".encode("utf-8-sig"), "Über den Fluss"),
        ("Über den Fluss".encode("utf-16"), "Über den Fluss"),
        (b"\xfe\xff" + "Über den Fluss".encode("utf-16-be"), "Über den Fluss"),
        (b"## A *strong* [link](http://x.y) ##\n\n\n\n#\nwords\0", "A strong link\n\n#\nwords"),
    ],
)
@pytest.mark.parametrize("ending", [".md", ".txt"])
def test_text_files_are_read_in_any_unicode_form(content: bytes, body: str, ending: str) -> None:
    result = read(content, ending, FAST)
    assert (result.status, result.pages, result.pages_read, result.body) == ("ok", 1, 1, body)


@pytest.mark.parametrize("content", ["ein Fluß".encode("latin-1"), "ein Fluß".encode("utf-16")[:-1]])
def test_text_in_another_encoding_is_damaged_with_a_hint(content: bytes) -> None:
    result = read(content, ".txt", FAST)
    assert result.status == "damaged"
    assert "convert it with iconv" in str(result.error)


@pytest.mark.parametrize("content", [b" \n\t\n", b"\xef\xbb\xbf", b"![](a.png)"])
def test_a_text_file_without_words_is_empty(content: bytes) -> None:
    assert read(content, ".md", FAST).status == "empty"


def test_reading_stops_at_the_page_that_fills_max_tokens() -> None:
    whole = read(pdf(*[PROSE * 5] * 6), ".pdf", FAST)
    result = read(pdf(*[PROSE * 5] * 6), ".pdf", shorter(100))
    assert (result.pages, result.pages_read, result.tokens) == (6, 2, 100)
    assert whole.body.startswith(result.body)
    assert (whole.pages_read, read(pdf(PROSE, PROSE), ".pdf", shorter(1)).pages_read) == (6, 1)


# --- tokens

words = st.text(st.sampled_from("abeinorst ,.-1\nÜéß漢\u0301\U0001f600"), max_size=80)


@given(words, st.integers(1, 60))
def test_cut_keeps_a_beginning_of_at_most_so_many_tokens(text: str, limit: int) -> None:
    kept, count = cut(text, limit)
    whole = cut(text, 10_000)[1]
    assert text.startswith(kept)
    assert count == min(limit, whole)
    assert cut(kept, 10_000)[1] <= limit


@settings(max_examples=20, deadline=None)
@given(st.text("abc xyz\n,", min_size=5, max_size=40), st.integers(-40, 40))
def test_cut_counts_the_same_beyond_one_chunk(piece: str, more: int) -> None:
    """Texts longer than a chunk are tokenized in parts; the limit is put near where the first one ends."""
    text = f"{piece} " * (CHUNK_CHARACTERS // len(piece) + 50)
    per_piece = cut(f"{piece} ", 1000)[1]
    everything = per_piece * (CHUNK_CHARACTERS // len(piece) + 50)
    assert cut(text, 10**6) == (text, everything)
    limit = max(1, per_piece * CHUNK_CHARACTERS // (len(piece) + 1) + more)
    kept, count = cut(text, limit)
    assert text.startswith(kept)
    assert count == min(limit, everything)
    assert cut(kept, 10**6)[1] == count


def test_a_text_without_any_space_is_cut_too() -> None:
    text = "漢" * (CHUNK_CHARACTERS + 100)
    assert cut(text, CHUNK_CHARACTERS + 7) == ("漢" * (CHUNK_CHARACTERS + 7), CHUNK_CHARACTERS + 7)
    assert cut("", 5) == ("", 0)


# --- titles and text


@pytest.mark.parametrize(
    ("own", "markdown", "title"),
    [
        ("  On  Ferries ", "# Something else\n\nwords", "On Ferries"),
        ("Microsoft Word - draft3.doc", "words\n\n## The *real* one ##\n\nmore", "The real one"),
        ("untitled", "The first line\nthe second", "The first line"),
        ("paper.tex", "**Bold start**\n\nwords", "Bold start"),
        ("", "", ""),
        ("x" * 400, "words", "x" * 300),
    ],
)
def test_the_title_is_the_files_own_or_a_heading_or_the_first_line(own: str, markdown: str, title: str) -> None:
    assert find_title(own, markdown) == title


def test_a_pdfs_own_title_is_found() -> None:
    assert read(pdf(PROSE, title="On Ferries"), ".pdf", FAST).title == "On Ferries"


def test_the_text_is_title_filled_metadata_and_body_with_the_title_once() -> None:
    metadata = {"keywords": "boats", "year": ""}
    assert compose("On Ferries", metadata, "ON  FERRIES\n\nwords") == "On Ferries\nkeywords: boats\n\nwords"
    assert compose("", {}, "words") == "words"
    assert compose("On Ferries", {}, "On Ferries") == "On Ferries"


@example("[ \0 [")
@given(st.text(st.sampled_from("ab *_#|`[]()-\n\0"), max_size=40))
def test_plain_text_has_no_markdown_left_to_take_out_of_its_spaces(markdown: str) -> None:
    text = plain(markdown)
    assert text == text.strip()
    assert not {"\0", "`", "|"} & set(text)
    assert "\n\n\n" not in text
    assert "  " not in text


# --- the table


def table(folder: Path, bodies: dict[str, Any], *metadata: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Write the files, read them in this process, and put them into the documents table."""
    for name, content in bodies.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    sources = list_documents(folder).sources
    results = [read_stored(source.file, FAST) for source in sources]
    header, *rows = [line.split(",") for line in metadata or ("document_id",)]
    known = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String()), orient="row")
    check_columns(known, columns or [])
    return pl.concat(tabulate(zip(sources, results, strict=True), known, columns or []))


def test_named_metadata_columns_become_text_and_its_title_wins(tmp_path: Path) -> None:
    rows = ("document_id,title,keywords,year", "a,On Boats,sea,1999", "b,,,2001", "unknown,x,y,z")
    documents = table(tmp_path, {"a.md": "# Own\n\nwords", "b.md": "# Bees\n\nhum"}, *rows, columns=["keywords"])
    assert documents["title"].to_list() == ["On Boats", "Bees"]
    assert documents["text"].to_list() == ["On Boats\nkeywords: sea\n\nOwn\n\nwords", "Bees\n\nhum"]


def test_a_metadata_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"extract\.metadata_columns: metadata\.csv has no column 'keyword'"):
        table(tmp_path, {"a.md": "words"}, "document_id,keywords", columns=["keyword"])


def test_of_equal_bytes_or_texts_the_first_is_ok_and_the_others_name_it(tmp_path: Path) -> None:
    whole = pdf(PROSE)
    bodies = {"c.md": PROSE, "b.pdf": whole, "a.pdf": whole, "d.txt": PROSE.replace(" ", "\n"), "e.md": "other words"}
    documents = table(tmp_path, bodies)
    copies = [(name, "duplicate", "a") for name in "bcd"]
    marks = documents.select("document_id", "status", "duplicate_of")
    assert marks.rows() == [("a", "ok", None), *copies, ("e", "ok", None)]


def test_a_duplicate_has_a_text_of_its_own(tmp_path: Path) -> None:
    rows = ("document_id,title,keywords", "a,On Boats,sea", "b,Of Ships,harbour")
    documents = table(tmp_path, {"a.md": "words", "b.md": "words"}, *rows, columns=["keywords"])
    assert documents["status"].to_list() == ["ok", "duplicate"]
    assert documents["text"].to_list() == ["On Boats\nkeywords: sea\n\nwords", "Of Ships\nkeywords: harbour\n\nwords"]


def test_documents_without_text_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    documents = table(tmp_path, {"a.pdf": b"", "b.pdf": b"", "c.md": " ", "d.md": "  ", "e.md": "words"})
    assert documents["status"].to_list() == ["damaged", "damaged", "empty", "empty", "ok"]
    assert documents["text"].to_list() == ["", "", "", "", "words"]


def test_the_metrics_count_every_document_once(tmp_path: Path) -> None:
    documents = table(tmp_path, {"a.md": "one two", "b.md": "one two", "c.pdf": b"", "d.txt": "three"})
    (tmp_path / "e.docx").touch()
    metrics = measure(documents, list_documents(tmp_path))
    assert {status: count for status, count in metrics["status"].items() if count} == {
        "ok": 2,
        "duplicate": 1,
        "damaged": 1,
    }
    assert sum(metrics["status"].values()) == metrics["documents"] == 4
    assert metrics["files_of_other_kinds"] == 1
    assert metrics["tokens"] == {"total": 3, "median": 1.5, "max": 2}


@given(st.lists(st.integers(0, 20_000), max_size=20))
def test_every_length_falls_into_one_bar_of_the_plot(tokens: list[int]) -> None:
    assert count_lengths(tokens)["documents"].sum() == len(tokens)


def test_a_length_at_a_boundary_counts_upwards() -> None:
    bars = dict(count_lengths([99, 100, 10_000]).iter_rows())
    assert {name.strip(): count for name, count in bars.items() if count} == {
        "0 to 100": 1,
        "100 to 250": 1,
        "10,000 and more": 1,
    }


def test_what_cannot_be_opened_is_damaged_and_hangs_nothing(workspace: Path) -> None:
    documents = workspace / "documents"
    documents.mkdir()
    os.mkfifo(documents / "pipe.pdf")
    (documents / "dangling.md").symlink_to("nowhere")
    # A regular file for everyone, but reading it from its start is an input/output error.
    (documents / "memory.txt").symlink_to("/proc/self/mem" if sys.platform == "linux" else "nowhere")
    (documents / os.fsdecode(b"caf\xe9.txt")).write_text("words", encoding="utf-8")
    sources = list_documents(documents).sources
    documents_table = pl.concat(extract(sources, pl.DataFrame({"document_id": []}), FAST, 1))
    status = dict(documents_table.select("document_id", "status").iter_rows())
    assert status == {"pipe": "damaged", "dangling": "damaged", "memory": "damaged", "caf\\xe9": "ok"}
    assert "a link that leads nowhere" in documents_table["error"].to_list()
    assert "not a regular file" in documents_table["error"].to_list()


# --- the stage


def use(corpus: Path, **extract: object) -> None:
    """Let the workspace's params.yaml read `corpus` with the fast engine and two workers."""
    settings = {"engine": "fast", "metadata_columns": [], **extract}
    changes: dict[str, object] = {f"extract.{key}": value for key, value in settings.items()}
    edit_params(corpus.parent / "params.yaml", {"corpus": corpus.name, "runtime.workers": 2, **changes})


def outputs(folder: Path) -> dict[str, bytes]:
    files = [path for top in ("data", "metrics") for path in (folder / top).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def test_the_stage_accounts_for_every_document_and_repeats_its_bytes(workspace: Path) -> None:
    corpus = make_corpus(
        workspace / "mine", {"a.md": "# Boats\n\nwords", "sub/b.txt": "other words"}, metadata=["a,sea"]
    )
    extra = {"c.pdf": pdf(PROSE), "d.pdf": pdf(PROSE), "e.pdf": b"", "f.pdf": pdf(""), "g.pdf": pdf("1 2 3 4 5")}
    for name, content in extra.items():
        (corpus / "documents" / name).write_bytes(content)
    use(corpus, metadata_columns=["keywords"])
    first = run_stage("extract", cwd=workspace)
    assert first.returncode == 0, first.stderr
    before = outputs(workspace)
    documents = read_table(workspace / DOCUMENTS)
    assert dict(documents.select("document_id", "status").iter_rows()) == {
        "a": "ok",
        "sub/b": "ok",
        "c": "ok",
        "d": "duplicate",
        "e": "damaged",
        "f": "empty",
        "g": "garbage",
    }
    assert documents["text"][0] == "Boats\nkeywords: sea\n\nwords"
    metrics = json.loads(before["metrics/extract.json"])
    assert sum(metrics["status"].values()) == metrics["documents"] == 7
    assert "damaged: 'e': the file is empty" in first.stderr
    # The second run has no store to ask, another number of workers and another place for its stores.
    edit_params(workspace / "params.yaml", {"runtime.workers": 1})
    second = run_stage("extract", cwd=workspace, PIPELINE_CACHE=str(workspace / "elsewhere"))
    assert second.returncode == 0, second.stderr
    assert outputs(workspace) == before
    flat = documents.write_csv().encode() + b"".join(before.values())
    assert str(workspace).encode() not in flat


@pytest.mark.skipif(sys.platform != "linux", reason="looks its processes up in /proc")
def test_a_killed_run_leaves_no_workers_and_a_rerun_ends_with_the_same_bytes(workspace: Path) -> None:
    """A large last document keeps a worker busy when the run is killed; it is taken away for the rerun."""
    texts = {f"{number}.md": f"words of document {number}" for number in range(12)}
    corpus = make_corpus(workspace / "mine", texts)
    (corpus / "documents/large.pdf").write_bytes(slow_pdf(20))
    use(corpus, max_tokens=10_000_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.extract"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: len(stored(workspace)) == len(texts), seconds=30)
    assert len(alive(process.pid)) > 1
    process.kill()
    process.wait()
    wait_until(lambda: not alive(process.pid), seconds=5)
    assert not [name for name in outputs(workspace) if "/.tmp-" not in name]

    (corpus / "documents/large.pdf").unlink()
    again = run_stage("extract", cwd=workspace)
    assert again.returncode == 0, again.stderr
    resumed = outputs(workspace)
    assert run_stage("extract", cwd=workspace, PIPELINE_CACHE=str(workspace / "fresh")).returncode == 0
    assert outputs(workspace) == resumed


def wait_until(reached: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not reached after {seconds:g} s"
        time.sleep(0.05)


def alive(group: int) -> list[str]:
    """Return the processes of a process group, those left out that only wait to be reaped."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = status.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own) == group and state != "Z":
            found.append(status.parent.name)
    return found
