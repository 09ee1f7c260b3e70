"""What goes wrong while a language model is asked: one document fails or the run stops, and what was paid for stays."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from stages.llm.chat import WORD
from tests.chat_server import FAULTS, ChatServer
from tests.small_asking import METRICS, Place, Runner, label, quick, texts

pytestmark = pytest.mark.xdist_group("llm_faults")  # one server for most


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with ChatServer(retry_after_s=0.05, drip_s=0.05) as server:
        yield server


def key_of(place: Place) -> str:
    assert place.server.api_key is not None
    return place.server.api_key


def holding(text: str, folder: Path) -> list[Path]:
    """Return the files that hold a text, of tables the cells."""
    contents = {
        file: json.dumps(pl.read_parquet(file).rows()).encode() if file.suffix == ".parquet" else file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    return [file for file, content in contents.items() if text.encode() in content]


def worded(error: str | None) -> str:
    """Leave out what the SDK puts before the endpoint's own words."""
    return re.sub(r"Error code: \d+ - ", "", error or "")


def planted(*faults: str, times: str = "") -> dict[str, str]:
    """Make a document for each fault that goes wrong with it: always, or the first times (` x1`)."""
    return {fault: f"A text with fault: {fault}{times} label: bees" for fault in faults}


# ---------------------------------------------------------------------------------------------------------------------
# One document fails
# ---------------------------------------------------------------------------------------------------------------------

# What becomes of a document whose every request meets the fault: the beginning of its error, None if it is labelled.
ENDS: dict[str, str | None] = {
    "slow": None,
    "prose": None,
    "duplicate": None,
    "echo_key_200": None,
    "wrong_enum": "invalid: no category of categories.csv: 'none of these'",
    "invalid_json": "invalid: no JSON with a category: ",
    "refusal": "refusal: \"I'm sorry, but I can't assist with that request.\"",
    "length": "length: the answer was cut off at annotate.openai.max_completion_tokens",
    "content_filter": "content_filter: ",
    "filtered_400": "content_filter: The response was filtered",
    "bad_request": "rejected: Invalid value",
    "too_long": "rejected: This model's maximum context length",
    "too_large_429": "rejected: Request too large",
    "500": "no answer: 500: The server had an error",
    "503": "no answer: 503: The engine is currently overloaded",
    "echo_key": "no answer: 500: Upstream failed. Authorization: Bearer [key]",
    "drop": "no answer: ",
    "drop_half": "no answer: ",
    "drip": "no answer: timed out",
    "malformed": "malformed: ",
    "html": "malformed: ",
    "empty_choices": "malformed: ",
}
STOP = {"quota", "forbidden", "no_model"}


def test_a_document_that_always_fails_is_failed_with_the_reason_and_the_others_are_labelled(
    place: Place, annotate: Runner
) -> None:
    assert set(ENDS) | STOP | {"429"} == set(FAULTS)
    place.set_up({**texts(6), **planted(*ENDS)})
    place.set(max_failed=1.0)
    place.set("runtime", request_timeout_s=0.5)
    ended = annotate()
    assert ended.code == 0
    assert "documents failed: 6 no answer, " in ended.said
    found = place.annotations()
    assert all(found[name] == (label(int(name[1:])), "ok", None) for name in texts(6))
    for fault, error in ENDS.items():
        if error is None:
            assert found[fault] == ("bees", "ok", None)
        else:
            assert found[fault][:2] == (None, "failed")
            assert worded(found[fault][2]).startswith(error), found[fault]
    metrics = json.loads(METRICS.read_text())
    assert metrics["failed"] == sum(error is not None for error in ENDS.values())
    assert metrics["failed_by"] == {
        "content_filter": 2,
        "invalid": 2,
        "length": 1,
        "malformed": 3,
        "no answer": 6,
        "refusal": 1,
        "rejected": 3,
    }
    # The key came back in a body and in an error, and went no further.
    assert holding(key_of(place), place.folder) == []
    assert key_of(place) not in ended.said + ended.printed
    assert holding("[key]", place.folder / "data") != []
    assert place.server.stats().key_leaks == 0

    # What was an answer is kept, and what was none is tried again.
    tried_again = [fault for fault, error in ENDS.items() if error and error.startswith(("no", "mal", "rej", "con"))]
    tried_again.remove("content_filter")
    once = {"bad_request", "too_long", "too_large_429", "filtered_400"}
    assert annotate().sent == sum(1 if fault in once else 3 for fault in tried_again)
    assert place.annotations() == found


def test_a_fault_that_passes_costs_a_request_and_no_label(place: Place, annotate: Runner) -> None:
    passing = [fault for fault, error in ENDS.items() if error and error.startswith(("no", "mal", "inv"))]
    place.set_up(planted(*passing, "429", times=" x1"))
    place.set("runtime", request_timeout_s=0.5)
    ended = annotate()
    assert (ended.code, ended.sent) == (0, 2 * len(passing) + 2), ended.said
    assert set(place.categories().values()) == {"bees"}


def test_one_request_in_five_fails_and_all_documents_are_labelled(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, attempts=8)
    faults = ["500", "503", "429", "drop", "drop_half", "malformed", "empty_choices", "wrong_enum", "invalid_json"]
    with ChatServer(faults=dict.fromkeys(faults, 0.2 / len(faults)), retry_after_s=0.02) as faulty:
        place.server = faulty
        place.set_up(texts(60))
        ended = annotate()
        assert ended.code == 0, ended.said
        assert sum(faulty.stats().faults.values()) >= 3
        assert annotate().sent == 0
    assert place.categories() == {name: label(place_) for place_, name in enumerate(texts(60))}


# ---------------------------------------------------------------------------------------------------------------------
# The run stops
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("quota", "the quota of this key is used up: You exceeded your current quota"),
        ("forbidden", "answers 403 (check the key): Country, region, or territory not supported"),
        ("no_model", "answers 404 (check the model's name or the address): The model `gpt-test` does not exist."),
    ],
)
def test_what_all_requests_would_meet_stops_the_run_and_answers_are_kept(
    fault: str, error: str, place: Place, annotate: Runner
) -> None:
    place.set_up({**texts(30), "d010x": f"fault: {fault}"})
    place.set("runtime", concurrency=1)
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 12)
    assert place.server.base_url in ended.error
    assert error in worded(ended.error)
    assert place.outputs() == {}
    place.write(texts(30))
    again = annotate()
    assert (again.code, again.sent) == (0, 30 - 11)


def test_an_endpoint_that_cannot_be_reached_stops_the_run_whatever_may_fail(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    place.set_up(texts(30))
    place.set(max_failed=1.0)
    place.set("openai", base_url="http://127.0.0.1:1/v1")
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 0)
    assert ended.error.startswith("annotate: http://127.0.0.1:1/v1 cannot be reached (check the address): ")
    assert place.outputs() == {}


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999/v1", "http:///v1", "https://"])
def test_an_address_that_is_none_is_named(address: str, place: Place, annotate: Runner) -> None:
    place.set_up(texts(3))
    place.set("openai", base_url=address)
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 0)
    assert "annotate.openai.base_url" in ended.error


def test_a_document_that_is_refused_for_ever_does_not_stop_the_others(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr("stages.llm.chat.PATIENCE", 2.0)
    with ChatServer(retry_after_s=0.1) as server:
        place.server = server
        place.set_up({**texts(20), "x": "fault: 429"})
        place.set(max_failed=0.1)
        ended = annotate()
        assert ended.code == 0, ended.said
    assert place.annotations()["x"][1:] == (
        "failed",
        "rejected: again and again, unlike others: Rate limit reached in organization org-test on requests: Limit 3 in "
        "1s, Used 3. Please try again in 100ms.",
    )


def test_more_failures_than_allowed_stop_the_run_with_reasons_and_write_nothing(place: Place, annotate: Runner) -> None:
    documents = {**texts(17), **{f"x{place_}": f"fault: refusal. Number {place_}" for place_ in range(3)}}
    place.set_up(documents)
    place.set(max_failed=0.1)
    place.set("runtime", concurrency=1)
    ended = annotate()
    assert ended.code == 1
    assert ended.error == (
        "annotate: 3 of 20 documents failed, more than annotate.max_failed (0.1) allows: 3 refusal; the first: 'x0': "
        "refusal: \"I'm sorry, but I can't assist with that request.\". All answers are kept"
    )
    assert place.outputs() == {}
    place.set(max_failed=0.15)
    again = annotate()
    assert (again.code, again.sent) == (0, 0)
    assert [name for name, row in place.annotations().items() if row[1] == "failed"] == ["x0", "x1", "x2"]


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cap_stops_a_run_and_the_next_goes_on(concurrency: int, place: Place, annotate: Runner) -> None:
    """An answer may cost 2 dollars, and costs less than 0.01 (seven tokens or so): some of them are in 0.05."""
    place.set_up(texts(20))
    place.set("runtime", price_output_usd=1000.0, max_cost_usd=2.05, concurrency=concurrency)
    total = 0
    for _ in range(10):
        ended = annotate()
        total += ended.sent
        if ended.code == 0:
            break
        assert 1 <= ended.sent <= 10
        assert "stopped before runtime.max_cost_usd ($2.05 a run) is passed" in ended.error
        assert f"{total} of 20 documents are answered" in ended.error
        assert place.outputs() == {}
    assert (ended.code, total) == (0, 20)
    assert set(place.server.stats().asked.values()) == {1}


def test_a_cap_below_one_answer_sends_nothing(place: Place, annotate: Runner) -> None:
    place.set_up(texts(3))
    place.set("runtime", price_output_usd=1000.0, max_cost_usd=1.99)
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 0)
    assert "0 of 3 documents are answered" in ended.error


# ---------------------------------------------------------------------------------------------------------------------
# The key
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, " "])
def test_no_key_is_one_line(value: str | None, place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    if value:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    place.set_up(texts(3))
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 0)
    assert ended.error.startswith("annotate: no key: the environment variable OPENAI_API_KEY is not set (`export ")
    assert "\n" not in ended.error
    assert place.outputs() == {}


def test_without_a_key_the_answers_that_are_kept_are_enough(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.set_up(texts(3))
    assert annotate().code == 0
    before = place.outputs()
    monkeypatch.delenv("OPENAI_API_KEY")
    again = annotate()
    assert (again.code, again.sent) == (0, 0)
    assert place.outputs() == before


@pytest.mark.parametrize("value", ["sk-wröng-0123456789", "sk-0123456789\nabcdef"])
def test_a_key_that_cannot_be_sent_is_one_line_without_it(
    value: str, place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    place.set_up(texts(3))
    ended = annotate()
    assert (ended.code, ended.sent) == (1, 0)
    assert ended.error == "annotate: the environment variable OPENAI_API_KEY holds letters that no key has: set it anew"
    assert value not in ended.said


def test_a_wrong_key_is_one_line_without_it(place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-another-0123456789")
    place.set_up(texts(20))
    place.set("runtime", api_key_env="MY_KEY")
    ended = annotate()
    assert ended.code == 1
    assert "answers 401 (check the key): Incorrect API key provided: sk-***6789." in worded(ended.error)
    assert ended.sent <= 8
    assert "sk-another" not in ended.said
    assert holding("sk-another", place.folder) == []
    assert place.outputs() == {}


def test_an_endpoint_that_wants_no_key_gets_none_of_ours(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a short one, as servers of one's own take any, may be a word of the answer."""
    with ChatServer(api_key=None) as free:
        place.server = free
        place.set_up(texts(3))
        place.set("runtime", api_key_env="")
        assert annotate().code == 0
        monkeypatch.setenv("MY_KEY", "rail")
        place.set("runtime", api_key_env="MY_KEY")
        place.set("openai", model="gpt-other")
        assert annotate().sent == 3
    assert set(place.categories().values()) == {"rail", "bread", "bees"}


@pytest.mark.parametrize(
    ("key", "secret"), [("sk-1234", True), ("0123456789abcdef", True), ("ollama", False), ("EMPTY", False), ("", False)]
)
def test_what_looks_like_a_secret_is_taken_out_and_a_word_is_not(key: str, secret: bool) -> None:
    assert (WORD.fullmatch(key) is None) == secret
