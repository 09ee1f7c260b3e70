"""The review: what comes when, what is written and taken back, who is let in, and what is refused."""

import json
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from stages.annotators.sampling import sample
from stages.corpus.tables import ANNOTATIONS
from stages.review import open_review
from stages.reviewing.server import listen, refusal
from stages.reviewing.session import Session
from stages.runtime.errors import UserError
from stages.runtime.lock import alone_or_not_at_all
from tests.conftest import run_stage
from tests.small_reviewing import DOUBTED, LABELS_GIVEN, ORDER, SURE, reviewable

HEADER = "document_id,class\n"


@pytest.fixture
def corpus(workspace: Path) -> Path:
    return reviewable(workspace)


@pytest.fixture
def session(corpus: Path) -> Session:
    return open_review(corpus, None).session


def shown(session: Session) -> str | None:
    item = session.state()["item"]
    return None if item is None else str(item["document_id"])


def test_suspects_come_first_the_most_doubtful_before_the_others_then_the_unsure(session: Session) -> None:
    seen = []
    while name := shown(session):
        seen.append(name)
        session.decide(name, "bread")
    assert seen == ORDER
    assert session.state()["decided"] == session.state()["total"] == len(ORDER)


def test_the_page_is_told_what_the_model_thinks_and_the_title_once(session: Session) -> None:
    item = session.state()["item"]
    assert (item["given"], item["suggested"], item["confidence"]) == DOUBTED["loaf"]
    assert item["title"] == "All about a loaf"
    assert item["text"].startswith("<b>Not bold</b>")


def test_a_decision_is_in_the_file_at_once_and_one_that_changes_nothing_says_that_it_was_checked(
    session: Session,
) -> None:
    session.decide("loaf", "bread")
    assert session.table.path.read_text() == HEADER + "loaf,bread\n"
    session.decide("tram", "bread")
    assert session.table.path.read_text() == HEADER + "loaf,bread\ntram,bread\n"
    assert session.summary() == "2 decided (1 with another label than before): corpus/overrides.csv"


def test_a_new_start_goes_on_where_the_last_one_ended(session: Session, corpus: Path) -> None:
    session.decide("loaf", "bread")
    session.skip("tram")
    again = open_review(corpus, None).session
    assert shown(again) == "tram"
    assert again.state()["decided"] == 1


def test_steps_are_undone_in_turn_down_to_the_file_as_it_was(session: Session) -> None:
    before = session.table.path.read_bytes()
    session.decide("loaf", "bread")
    session.skip("tram")
    session.decide("bun", "ships")
    for name in ("bun", "tram", "loaf"):
        assert session.undo()["item"]["document_id"] == name
    assert session.table.path.read_bytes() == before
    assert session.undo()["refused"]


def test_a_row_written_by_hand_meanwhile_counts_and_stays(session: Session) -> None:
    session.decide("loaf", "bread")
    session.table.path.write_text(HEADER + "loaf,hats\ntram,rail\n")
    assert shown(session) == "bun"
    refused = session.decide("tram", "bread")
    assert refused["refused"]
    assert "has 'rail' for tram already" in refused["message"]
    assert "changed by hand" in session.undo()["message"]
    assert session.table.path.read_text() == HEADER + "loaf,hats\ntram,rail\n"


def test_a_second_page_that_lags_behind_writes_nothing(session: Session) -> None:
    session.skip("loaf")
    assert session.decide("loaf", "bread")["refused"]
    assert session.skip("bun")["refused"]
    assert session.table.read() == {}


def test_only_classes_of_the_corpus_can_be_given(session: Session) -> None:
    with pytest.raises(UserError, match="'hats' is none of the classes"):
        session.decide("loaf", "hats")


def test_a_document_with_another_label_by_now_is_left_out_and_named(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = reviewable(workspace)
    table = workspace / "metrics/evaluate/label_suspects.csv"
    table.write_text(table.read_text().replace("loaf,rail", "loaf,ships") + "gone,rail,bread,0.5000,train\n")
    assert shown(open_review(corpus, None).session) == "tram"
    assert "left out" in caplog.text
    assert "'loaf', 'gone'" in caplog.text


def test_without_a_run_there_is_nothing_to_review(workspace: Path, corpus: Path) -> None:
    (workspace / "metrics/evaluate/label_suspects.csv").unlink()
    with pytest.raises(UserError, match=r"suspects[.]csv is missing"):
        open_review(corpus, None)


def test_a_sample_to_label_blind_is_random_readable_and_says_nothing_about_a_label(workspace: Path) -> None:
    corpus = reviewable(workspace, examples=["cab,rail"])
    few, many, every = (open_review(corpus, size).session.items for size in (3, 5, 100))
    assert [item.document_id for item in many][:3] == [item.document_id for item in few]
    assert {item.document_id for item in every} == LABELS_GIVEN.keys() - {"cab"}
    assert [item.document_id for item in every] != sorted(item.document_id for item in every)
    # The annotator is asked about the same documents.
    asked = sample(sorted(LABELS_GIVEN), len(few) + 1, 0)
    assert {item.document_id for item in few} <= asked
    told = json.dumps(open_review(corpus, 100).session.state())
    assert not any(f'"{label}"' in told for label in LABELS_GIVEN.values())


def test_blind_labels_go_to_gold_and_those_there_count(workspace: Path) -> None:
    corpus = reviewable(workspace, gold=["tram,rail"])
    review = open_review(corpus, 100)
    assert review.session.state()["decided"] == 1
    name = shown(review.session)
    assert name
    review.session.decide(name, "ships")
    assert (corpus / "gold.csv").read_text() == f"document_id,category\ntram,rail\n{name},ships\n"
    assert (corpus / "overrides.csv").read_text() == HEADER


def test_categories_on_the_list_can_be_given_else_those_annotated_the_commonest_first(workspace: Path) -> None:
    corpus = reviewable(workspace)
    assert open_review(corpus, 1).labels == {"bread": "Baking", "rail": "Trains", "ships": "Boats"}
    (corpus / "categories.csv").write_text("category,description\n")
    assert list(open_review(corpus, 1).labels) == ["rail", "bread", "ships"]
    (workspace / ANNOTATIONS).unlink()
    with pytest.raises(UserError, match="names no categories"):
        open_review(corpus, 1)


OWN = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "changes", "allowed"),
    [
        ("GET", "/secret/", {"Origin": None}, True),
        ("GET", "/secret/", {"Origin": None, "Sec-Fetch-Site": "none"}, True),
        ("POST", "/secret/undo", {"Sec-Fetch-Site": "same-origin"}, True),
        ("POST", "/secret/undo", {"Host": "localhost:8000", "Origin": "http://localhost:8000"}, True),
        ("GET", "/", {}, False),
        ("GET", "/secre/", {}, False),
        ("GET", "/sécret/", {}, False),
        ("GET", "/secret/", {"Host": "evil.test:8000", "Origin": None}, False),  # DNS rebinding
        ("GET", "/secret/", {"Host": "127.0.0.1:9000"}, False),
        ("GET", "/secret/", {"Origin": None, "Sec-Fetch-Site": "cross-site"}, False),
        ("GET", "/secret/", {"Origin": None, "Sec-Fetch-Site": "same-site"}, False),
        ("POST", "/secret/undo", {"Origin": "http://127.0.0.1:9000"}, False),
        ("POST", "/secret/undo", {"Origin": "null"}, False),
        ("POST", "/secret/undo", {"Origin": None}, False),
        ("POST", "/secret/undo", {"Content-Type": "text/plain"}, False),  # what a form of another site can send
    ],
)
def test_only_the_page_itself_is_answered(
    method: str, path: str, changes: dict[str, str | None], allowed: bool
) -> None:
    headers = {name: value for name, value in {**OWN, **changes}.items() if value is not None}
    why = refusal(make_mocked_request(method, path, headers=headers), 8000, "secret")
    assert (why is None) == allowed, why


def test_a_second_review_of_the_corpus_is_refused_in_a_line(corpus: Path, workspace: Path) -> None:
    with alone_or_not_at_all(corpus / ".review.lock", "busy"):
        second = run_stage("review", cwd=workspace)
    assert second.returncode == 1
    assert second.stderr == ("error: corpus: another review of this corpus is open: end it there (Ctrl-C) first\n")
    assert not (corpus / ".review.lock").exists()


def test_a_port_that_is_taken_is_named() -> None:
    with listen(0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: Address already in use: choose another"):
            listen(port)


def test_when_all_is_decided_it_says_so_and_ends(workspace: Path) -> None:
    reviewable(workspace, overrides=[f"{name},rail" for name in ORDER])
    done = run_stage("review", cwd=workspace)
    assert done.returncode == 0
    assert done.stderr == "review: 5 of 5 documents are decided in corpus/overrides.csv\n"


def test_documents_that_nobody_doubts_are_not_shown(session: Session) -> None:
    assert not {item.document_id for item in session.items} & SURE.keys()
