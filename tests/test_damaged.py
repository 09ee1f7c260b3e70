"""Damaged and hostile files: what DVC itself trips over, and what the campaign (tests.benchmarks.damaged) found."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from stages.extract import STATUSES
from stages.extraction.reading import join_pages, read
from stages.extraction.workers import read_all
from stages.runtime.errors import UserError
from stages.runtime.precheck import check_for_dvc, what_stops_dvc
from tests.benchmarks.damage import HOSTILE
from tests.conftest import ROOT, edit_params, make_corpus, run_stage
from tests.small_pdfs import FAST

# --- what DVC trips over before a stage starts

Make = Callable[[Path], object]


def written(name: str | bytes, content: str = "words") -> Make:
    def make(folder: Path) -> None:
        file = folder / os.fsdecode(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    return make


def linked(name: str, target: str) -> Make:
    return lambda folder: (folder / name).symlink_to(target)


def make_socket(folder: Path) -> None:
    # The path of a socket has room for a hundred bytes only.
    with chdir(folder), socket.socket(socket.AF_UNIX) as server:
        server.bind("s.pdf")


def make_pipe_behind_a_link(folder: Path) -> None:
    os.mkfifo(folder.parent / "pipe")
    (folder / "a.pdf").symlink_to("../pipe")


def nothing(folder: Path) -> None:
    pass


NAMED: dict[str, tuple[Make, str, str]] = {
    "socket": (make_socket, "s.pdf", "a socket, no file: remove it"),
    "dangling link": (linked("a.pdf", "nowhere"), "a.pdf", "a link that leads nowhere"),
    "link to itself": (linked("a.docx", "a.docx"), "a.docx", "Too many levels of symbolic links"),
    "no UTF-8": (written(b"caf\xe9.txt"), os.fsdecode(b"caf\xe9.txt"), "its name is no UTF-8: rename it"),
    "folder of no UTF-8": (written(b"\xe9/a.txt"), os.fsdecode(b"\xe9/a.txt"), "its name is no UTF-8: rename it"),
    ".dvcignore": (written("sub/.dvcignore"), "sub/.dvcignore", "DVC allows none here"),
    "x.dvc": (written("x.dvc"), "x.dvc", "DVC takes it for a file of its own"),
    "dvc.yaml": (written("sub/dvc.yaml", "stages: 3"), "sub/dvc.yaml", "DVC takes it for a file of its own"),
}
HARMLESS: dict[str, Make] = {
    "nothing": nothing,
    "link to a file": linked("a.txt", "ok.txt"),
    "link to its own folder": linked("a.pdf", "."),
    "folder like a document": written("a.pdf/b.txt"),
    "line break": written("a\nb.txt"),
    "all sorts of signs": written('-rf it\'s "$(x)" \\ *? \u202e\U0001f99c.txt'),
    "255 bytes": written("x" * 251 + ".txt"),
    "git's own folder": written(".git/x.dvc"),
    "empty folder of no UTF-8": lambda folder: (folder / os.fsdecode(b"\xe9")).mkdir(),
}


of_dvc = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def dvc_stops(workspace: Path) -> bool:
    """Say whether DVC fails to read the folder `documents`."""
    from dvc.repo import Repo

    try:
        with Repo.init(str(workspace), no_scm=True) as repo:
            repo.add(str(workspace / "documents"))
    except Exception:  # DVC lets through whatever its libraries raise
        return True
    return False


@of_dvc
@pytest.mark.parametrize(("make", "name", "why"), NAMED.values(), ids=NAMED.keys())
def test_what_stops_dvc_is_named(make: Make, name: str, why: str, workspace: Path) -> None:
    written("documents/ok.txt")(workspace)
    make(workspace / "documents")
    [(path, said)] = what_stops_dvc(Path("documents"))
    assert (path, said[: len(why)]) == (Path("documents", name), why)
    assert dvc_stops(workspace)


@of_dvc
@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_dvc_reads_is_not_named(make: Make, workspace: Path) -> None:
    written("documents/ok.txt")(workspace)
    make(workspace / "documents")
    assert what_stops_dvc(Path("documents")) == []
    assert not dvc_stops(workspace)


@pytest.mark.parametrize("name", ["a.pdf", ".hidden", "sub/a.docx"])
def test_a_pipe_at_which_dvc_waits_for_ever_is_named_and_not_opened(name: str, workspace: Path) -> None:
    written("documents/sub/ok.txt")(workspace)
    os.mkfifo(workspace / "documents" / name)
    assert what_stops_dvc(Path("documents")) == [
        (Path("documents", name), "a pipe, at which DVC waits for ever: remove it")
    ]


def test_a_pipe_behind_a_link_is_named(workspace: Path) -> None:
    written("documents/ok.txt")(workspace)
    make_pipe_behind_a_link(workspace / "documents")
    [(path, _)] = what_stops_dvc(Path("documents"))
    assert path == Path("documents/a.pdf")


def test_a_document_tracked_by_itself_is_in_order(workspace: Path) -> None:
    written("documents/a.txt")(workspace)
    written("documents/a.txt.dvc", "outs:\n- path: a.txt\n")(workspace)
    assert what_stops_dvc(Path("documents")) == []


def test_what_a_dvcignore_leaves_out_is_not_named(workspace: Path) -> None:
    from dvc.repo import Repo

    written("documents/ok.txt")(workspace)
    os.mkfifo(workspace / "documents/a.pdf")
    os.mkfifo(workspace / "documents/b.docx")
    (workspace / ".dvcignore").write_text("*.docx\n", encoding="utf-8")
    Repo.init(str(workspace), no_scm=True).close()
    assert [path.name for path, _ in what_stops_dvc(Path("documents"))] == ["a.pdf"]


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="this system has no setresuid")
def test_what_may_not_be_read_listed_or_entered_is_named(workspace: Path) -> None:
    for name in ("file.txt", "unlisted/a.txt", "not entered/a.txt", "locked/a.txt"):
        written(f"documents/{name}")(workspace)
    rights = {"file.txt": 0, "unlisted": 0o311, "not entered": 0o644, "locked": 0}
    # Relative paths, because pytest's own folders are closed to other users.
    workspace.chmod(0o755)
    for name, mode in rights.items():
        Path("documents", name).chmod(mode)
    root = os.getuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        named = {path.name: why.partition(":")[0] for path, why in what_stops_dvc(Path("documents"))}
    finally:
        if root:
            os.setresuid(0, 0, 0)
        for name in rights:
            Path("documents", name).chmod(0o755)
    assert named == {
        "file.txt": "no permission to read it",
        "unlisted": "Permission denied",
        "not entered": "its files cannot be reached",
        "locked": "its files cannot be reached",
    }


def test_the_command_names_each_on_a_line_and_exits_with_1(workspace: Path) -> None:
    corpus = make_corpus(workspace / "mine", {"a.md": "words"})
    edit_params(workspace / "params.yaml", {"corpus": "mine"})
    assert run_stage("extract", "--check", cwd=workspace).returncode == 0
    os.mkfifo(corpus / "documents/line\nbreak.pdf")
    (corpus / "documents" / os.fsdecode(b"caf\xe9.txt")).touch()
    finished = run_stage("extract", "--check", cwd=workspace)
    assert finished.returncode == 1
    latin, pipe, error = finished.stderr.splitlines()
    assert latin.startswith(r"'mine/documents/caf\udce9.txt': its name is no UTF-8: rename it")
    assert pipe == r"'mine/documents/line\nbreak.pdf': a pipe, at which DVC waits for ever: remove it"
    assert error == "error: mine/documents: DVC stops at 2 of the files in it: see above for what to do with each"
    assert not (workspace / "data").exists()


def test_a_missing_folder_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        check_for_dvc(tmp_path / "documents")


# --- one document


def test_what_is_no_pdf_is_not_read_as_one() -> None:
    """A publisher's error page, saved under the name of the paper, would be a document of its own."""
    for make in (HOSTILE["HTML.pdf"], HOSTILE["PNG.pdf"]):
        found = read(make(), ".pdf", FAST)
        assert (found.status, found.error) == ("damaged", "another kind of file with the ending .pdf")


def test_a_fault_nobody_thought_of_costs_its_document_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise LookupError("no such glyph")

    monkeypatch.setattr("stages.extraction.reading.judge", stumble)
    found = read(b"words", ".txt", FAST)
    assert (found.status, found.error) == ("damaged", "LookupError: no such glyph")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "-" * 200 + "x",
        "# a" + " " * 20_000 + "b",
        "# " + "#" * 100_000 + "x",
        "[" * 200_000,
        "[a](" * 50_000,
        "![" * 100_000,
        "**==> " * 50_000,
        " \n" * 300_000 + "x",
        " " * 300_000 + "x",
        "1 " * 100_000,
    ],
    ids=[
        "dashes",
        "spaces in a heading",
        "heading signs",
        "brackets",
        "links",
        "images",
        "pictures",
        "lines",
        "spaces",
        "numbers",
    ],
)
def test_a_file_of_nothing_but_one_sign_takes_no_longer_than_another(text: str) -> None:
    """None ended in a test's time: the patterns that take Markdown out tried the same signs again from every place."""
    assert read(text.encode(), ".md", FAST.model_copy(update={"drop_references": True})).status in STATUSES
    assert join_pages([text] * 3, [text] * 3)


# --- worker processes


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_page_too_large_for_memory_is_crashed_and_leaves_its_worker_fit(workspace: Path) -> None:
    """MuPDF keeps what it held when its memory ran out: the same worker would have none for the next document."""
    bomb = workspace / "a bomb.pdf"
    bomb.write_bytes(HOSTILE["bomb of words.pdf"]())
    large = workspace / "b.txt"
    large.write_text("words of a long document\n" * 500_000, encoding="utf-8")
    small = FAST.model_copy(update={"memory_mb": 512, "max_tokens": 10})
    crashed, ok = (read.found for read in read_all([bomb, large], small, 1))
    assert (crashed.status, crashed.error) == ("crashed", "needs more than extract.memory_mb (512 MB)")
    assert ok.status == "ok"
    assert len(list(workspace.rglob(".cache/extract/*/*"))) == 1


def test_reading_reports_to_nobody() -> None:
    """ONNX Runtime, which the layout engine runs on, sends its maker word of its use unless told not to."""
    code = "import os, stages.extraction; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
