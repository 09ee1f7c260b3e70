"""The corpus folder, its CSV files, the tables between stages, the store, writing files."""

import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.csvs import HEADERS, read_csv, some
from stages.corpus.documents import list_documents, name_sources, why_unreadable
from stages.corpus.duplicates import first_of_each, groups_of
from stages.corpus.tables import COLUMNS, read_table, write_table
from stages.files import write_atomically, write_csv, write_json
from stages.runtime.errors import UserError
from stages.store import Store, cache_folder
from tests.conftest import ROOT, make_corpus


def ids(folder: Path, *names: str | bytes) -> list[str]:
    """Make files of these names and return the ids they go by."""
    for name in names:
        file = folder / os.fsdecode(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text", encoding="utf-8")
    return [source.document_id for source in list_documents(folder).sources]


# --- documents and their ids


def test_ids_are_sorted_paths_without_their_ending(tmp_path: Path) -> None:
    assert ids(tmp_path, "b.pdf", "a.md", "2024/may/c.TXT") == ["2024/may/c", "a", "b"]


def test_the_ending_is_kept_where_files_differ_in_nothing_else(tmp_path: Path) -> None:
    assert ids(tmp_path, "a.pdf", "a.md", "b.pdf", "sub/a.pdf") == ["a.md", "a.pdf", "b", "sub/a"]


def test_only_the_last_ending_is_taken_off(tmp_path: Path) -> None:
    assert ids(tmp_path, "report.v1.pdf", "report.v2.pdf") == ["report.v1", "report.v2"]


@pytest.mark.parametrize("name", ["two words", 'it\'s "quoted"', "line\nbreak", "comma, semicolon;", "# $HOME %s {x}"])
def test_odd_names_are_ids_as_they_are(tmp_path: Path, name: str) -> None:
    assert ids(tmp_path, f"{name}.txt") == [name]


def test_umlauts_come_out_composed_however_the_disk_spells_them(tmp_path: Path) -> None:
    assert ids(tmp_path, unicodedata.normalize("NFD", "Über.txt")) == ["Über"]


def test_two_spellings_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'U\\u0308ber\.txt' and '\\xdcber\.txt' are the same text"):
        ids(tmp_path, "Über.txt", unicodedata.normalize("NFD", "Über.txt"))


def test_bytes_that_are_no_utf8_are_escaped_in_the_id(tmp_path: Path) -> None:
    assert ids(tmp_path, b"caf\xe9.txt") == ["caf\\xe9"]


def test_the_path_keeps_the_ending_and_opens_the_file(tmp_path: Path) -> None:
    ids(tmp_path, b"sub/caf\xe9.txt")
    [source] = list_documents(tmp_path).sources
    assert (source.path, source.file.read_text()) == ("sub/caf\\xe9.txt", "text")


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.sets(st.tuples(names, st.sampled_from([".pdf", ".md", ".txt"])), min_size=1, max_size=8))
def test_every_file_gets_an_id_of_its_own_or_an_error(files: set[tuple[str, str]]) -> None:
    folder = Path("documents")
    paths = [folder / f"x{stem}{ending}" for stem, ending in files]
    try:
        sources = name_sources(paths, folder)
    except UserError:
        normal = [unicodedata.normalize("NFC", path.name) for path in paths]
        stems = [name.rpartition(".")[0] for name in normal]
        assert len(set(normal)) < len(normal) or set(stems) & set(normal)
        return
    assert sorted(str(source.file) for source in sources) == sorted(map(str, paths))
    assert len({source.document_id for source in sources}) == len(paths)


def test_other_kinds_and_linked_folders_are_named_and_hidden_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    documents = tmp_path / "documents"
    ids(documents, "a.txt", "b.docx", "sub/c.html", ".DS_Store", ".git/d.txt")
    (documents / "linked").symlink_to(tmp_path / "elsewhere")
    folder = list_documents(documents)
    assert [source.document_id for source in folder.sources] == ["a"]
    assert sorted(folder.others) == ["b.docx", "linked", "sub/c.html"]


def test_a_folder_that_is_missing_or_empty_or_of_other_kinds_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list_documents(tmp_path / "documents")
    with pytest.raises(UserError, match="it is empty"):
        list_documents(tmp_path)
    with pytest.raises(UserError, match=r"it holds 2 of other kinds: \.docx, Makefile"):
        ids(tmp_path, "a.docx", "Makefile")


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="this system has no setresuid")
def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids(tmp_path, "documents/a.txt", "documents/locked/b.txt")
    # Relative paths, because pytest's own folders are closed to other users.
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    Path("documents/a.txt").chmod(0)
    Path("documents/locked").chmod(0)
    root = os.getuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        assert why_unreadable(Path("documents/a.txt")) == "no permission to read it"
        with pytest.raises(UserError, match="documents/locked: this folder cannot be listed: Permission denied"):
            list_documents(Path("documents"))
    finally:
        if root:
            os.setresuid(0, 0, 0)
        Path("documents/locked").chmod(0o755)


def test_pipes_and_dangling_links_are_unreadable_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "link.pdf").symlink_to("nowhere")
    assert why_unreadable(tmp_path / "pipe.pdf") == "not a regular file"
    assert why_unreadable(tmp_path / "link.pdf") == "a link that leads nowhere"
    assert why_unreadable(tmp_path / "gone.pdf") == "no such file"


# --- duplicates


def test_documents_are_joined_through_any_key_and_named_by_their_first() -> None:
    keys = [["s1", "t1"], ["s2", "t1"], ["s2", "t2"], ["s3", "t3"]]
    assert first_of_each(keys, ["d", "c", "b", "a"]) == {"d": "b", "c": "b", "b": "b", "a": "a"}


def test_an_empty_key_joins_nobody() -> None:
    assert first_of_each([["", "x"], ["", "y"]], ["a", "b"]) == {"a": "a", "b": "b"}


@given(st.lists(st.lists(st.sampled_from("pqrst"), max_size=2), max_size=8))
def test_groups_do_not_depend_on_the_order_of_documents(keys: list[list[str]]) -> None:
    documents = [f"d{place}" for place in range(len(keys))]
    assert first_of_each(keys[::-1], documents[::-1]) == first_of_each(keys, documents)


def test_a_document_without_an_original_is_its_own_group() -> None:
    frame = pl.DataFrame({"document_id": ["a", "b", "c"], "duplicate_of": [None, "a", None]})
    assert groups_of(frame) == {"a": "a", "b": "a", "c": "c"}


# --- CSV files


def labels(folder: Path, content: bytes | str) -> list[dict[str, str]]:
    (folder / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(folder, "labels.csv").to_dicts()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", r"is empty: its first line must be 'document_id,category'"),
        ("\n\n", r"is empty"),
        ("document_id\na\n", r"column 'category' is missing: the first line must hold 'document_id,category'"),
        ("document_id;category\na;b, c\n", r"its columns are separated by semicolons: save it with commas"),
        ('document_id\tcategory\na\t"b"\n', r"its columns are separated by tabs: save it with commas"),
        ("document_id,category, category\na,b,c\n", r"column 'category' stands there twice"),
        ("document_id,category\na,b\na,c\n", r"document_id 'a' stands there twice"),
        ("document_id,category\nu\u0308,b\nü,c\n", r"document_id 'ü' stands there twice"),
        ("document_id,category\na,b\nc,\n", r"row 3: 'category' is empty"),
        ("document_id,category\na,b\n , x\n", r"row 3: 'document_id' is empty"),
        ("document_id,category\na,b\n\n\nc\n", r"row 5: 'category' is empty"),
        ('document_id,category\na,"b\nc"\nd,\n', r"row 3: 'category' is empty"),
        ("document_id,category\na,b,c\n", r"row 2 has more cells than the header: put quotes"),
        ('document_id,category\na,"b\n', r"cannot be read as a CSV table: line 2: unexpected end of data"),
        (b"document_id,category\na,b\nc,\xfcber\n", r"is no UTF-8 text \(line 3\): save it as CSV UTF-8"),
        ("document_id,category\na,b\n".encode("utf-16"), r"is no UTF-8 text \(line 1\)"),
    ],
)
def test_a_faulty_csv_is_named_by_file_and_place(tmp_path: Path, content: bytes | str, fault: str) -> None:
    with pytest.raises(UserError, match=rf"labels\.csv:? {fault}"):
        labels(tmp_path, content)


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_csv_is_named_with_the_header_it_needs(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} is missing: make it \(the line '{','.join(HEADERS[name])}' alone"):
        read_csv(tmp_path, name)


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_alone_is_an_empty_table_of_text(tmp_path: Path, name: str) -> None:
    frame = read_csv(make_corpus(tmp_path / "corpus", {}), name)
    assert frame.is_empty()
    assert set(HEADERS[name]) <= set(frame.columns)
    assert set(frame.dtypes) == {pl.String()}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfdocument_id,category\na,b\n",
        b'\xef\xbb\xbf"document_id","category"\na,b',
        b"document_id,category\r\na,b\r\n\r\n",
        b"\ndocument_id , category\na, b \n",
        b"document_id,category,,\na,b,,\n,,,\n\n   \n",
        b"category,document_id\nb,a\n",
    ],
    ids=["byte order mark", "mark and quotes", "Windows line ends", "spaces", "blank cells and rows", "other order"],
)
def test_what_spreadsheets_do_to_a_csv_is_forgiven(tmp_path: Path, content: bytes) -> None:
    assert labels(tmp_path, content) == [{"document_id": "a", "category": "b"}]


def test_quoted_line_breaks_and_words_like_null_stay_text(tmp_path: Path) -> None:
    rows = labels(tmp_path, 'document_id,category\n007,"say ""hi"",\nthen go"\nNA,null\n')
    assert [tuple(row.values()) for row in rows] == [("007", 'say "hi",\nthen go'), ("NA", "null")]


def test_an_id_in_a_csv_finds_the_file_it_names(tmp_path: Path) -> None:
    """Whatever a table written by polars says, be it a space before the ending, is read back as that id."""
    odd = ["space at the end ", " before", 'quo"te', "line\nbreak", "com,ma", unicodedata.normalize("NFD", "Ü")]
    known = ids(tmp_path / "documents", *(f"{name}.txt" for name in odd))
    pl.DataFrame({"document_id": known, "category": "x"}).write_csv(tmp_path / "labels.csv")
    assert sorted(read_csv(tmp_path, "labels.csv")["document_id"]) == sorted(known)


def test_further_columns_are_kept_with_empty_cells_as_empty_text(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("document_id,year,keywords\na,2020,\nb\n", encoding="utf-8")
    assert read_csv(tmp_path, "metadata.csv").rows() == [("a", "2020", ""), ("b", "", "")]


def test_a_category_needs_no_description(tmp_path: Path) -> None:
    (tmp_path / "categories.csv").write_text("category,description\nsport,\n", encoding="utf-8")
    assert read_csv(tmp_path, "categories.csv").rows() == [("sport", "")]


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert some(["a", "b"]) == "'a', 'b'"
    assert some(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"


# --- tables


def frame_for(name: str) -> pl.DataFrame:
    values = {pl.String(): "x", pl.Int64(): 1, pl.Float64(): 0.5, pl.List(pl.Float64()): [0.5, 0.5]}
    return pl.DataFrame({column: [values[kind]] for column, kind in COLUMNS[name].items()})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_is_read_back_as_written(tmp_path: Path, name: str) -> None:
    write_table(frame_for(name), tmp_path / name)
    assert read_table(tmp_path / name).equals(frame_for(name))


def test_rows_are_sorted_columns_chosen_and_the_bytes_the_same(tmp_path: Path) -> None:
    rows = pl.DataFrame({"label": ["x", "y"], "document_id": ["b", "a"], "more": [1, 2], "category": [None, "c"]})
    write_table(rows, tmp_path / "one" / "labels.parquet")
    write_table(rows.reverse(), tmp_path / "two" / "labels.parquet")
    one, two = (tmp_path / folder / "labels.parquet" for folder in ("one", "two"))
    assert read_table(one).rows() == [("a", "c", "y"), ("b", None, "x")]
    assert one.read_bytes() == two.read_bytes()


def test_a_column_of_nulls_alone_keeps_its_type(tmp_path: Path) -> None:
    file = tmp_path / "annotations.parquet"
    write_table(frame_for(file.name).with_columns(confidence=None, error=None), file)
    assert read_table(file).schema["confidence"] == pl.Float64()


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (frame_for("labels.parquet").drop("category"), "column 'category' is missing"),
        (frame_for("labels.parquet").with_columns(label=1), "column 'label' is Int32, not String"),
    ],
)
def test_a_table_of_another_shape_is_named_by_file_and_column(tmp_path: Path, frame: pl.DataFrame, fault: str) -> None:
    frame.write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(UserError, match=rf"labels\.parquet: {fault}"):
        read_table(tmp_path / "labels.parquet")


@pytest.mark.parametrize("content", [b"", b"document_id,category,label\na,b,c\n", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.parquet cannot be read as parquet .*dvc checkout"):
        read_table(tmp_path / "labels.parquet")


def test_a_missing_table_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.parquet is missing: `dvc repro` makes it"):
        read_table(tmp_path / "labels.parquet")


# --- store


def test_the_store_gives_back_what_was_put(workspace: Path) -> None:
    store, key = Store("things"), Store.key(model="a", text="Über")
    assert store.get(key) is None
    store.put(key, b"value\0")
    assert Store("things").get(key) == b"value\0"
    assert Store("others").get(key) is None
    store.put(key, b"")
    assert store.get(key) == b""


def test_every_part_of_a_key_matters_and_their_order_does_not() -> None:
    assert Store.key(a=1, b="x") == Store.key(b="x", a=1)
    assert len({Store.key(a=1, b="x"), Store.key(a=2, b="x"), Store.key(a="1", b="x"), Store.key(a=1)}) == 4


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 32 + b"value"])
def test_a_damaged_entry_reads_as_absent_and_can_be_put_again(workspace: Path, damage: bytes) -> None:
    store, key = Store("things"), Store.key(a=1)
    store.put(key, b"value")
    [file] = (path for path in store.folder.rglob("*") if path.is_file())
    file.write_bytes(damage)
    assert store.get(key) is None
    store.put(key, b"value")
    assert store.get(key) == b"value"


WRITER = """
import sys
from stages.store import Store
store = Store("things")
for _ in range(300):
    store.put(Store.key(a=1), sys.argv[1].encode() * 20_000)
"""


def test_two_processes_may_put_the_same_key_while_a_third_reads(workspace: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, sign], env=environment) for sign in "ab"]
    store, key, seen = Store("things"), Store.key(a=1), set[bytes | None]()
    while any(writer.poll() is None for writer in writers):
        seen.add(store.get(key))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert store.get(key) in (b"a" * 20_000, b"b" * 20_000)
    assert seen <= {None, b"a" * 20_000, b"b" * 20_000}
    assert len([path for path in store.folder.rglob("*") if path.is_file()]) == 1


def test_the_cache_is_where_pipeline_cache_or_the_first_clone_says(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", "/clone")
    assert cache_folder() == workspace / ".cache"
    monkeypatch.setenv("PIPELINE_CACHE", "../big")
    assert cache_folder() == Path("/clone/../big")
    monkeypatch.delenv("PIPELINE_CACHE")
    assert cache_folder() == Path("/clone/.cache")
    monkeypatch.delenv("DVC_ROOT")
    assert cache_folder() == Path(".cache")


# --- writing files


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tiny_disk: Path) -> None:
    file = tiny_disk / "sub" / "table.csv"
    write_atomically(file, b"old")
    with pytest.raises(OSError, match="No space left") as error:
        write_atomically(file, b"new" * 50_000)
    assert error.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]


def test_files_are_readable_by_others_and_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "table.csv"
    write_csv(file, pl.DataFrame({"a": ["long"] * 9}))
    write_csv(file, pl.DataFrame({"a": ["Ü"], "b": [1 / 3]}))
    assert file.read_text(encoding="utf-8") == "a,b\nÜ,0.3333\n"
    assert file.stat().st_mode & 0o777 == 0o644


def test_json_keeps_its_order_and_letters_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"b": 1, "a": "Ü"})
    assert (tmp_path / "m.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "Ü"\n}\n'
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "m.json", {"f1": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
