"""A run that asks a language model dies, is interrupted or runs twice: nothing is paid for again."""

import json
import random
import signal
from collections.abc import Iterator

import polars as pl
import pytest

from stages.corpus.tables import RESPONSES
from tests.chat_server import ChatServer
from tests.small_asking import Place, Runner, texts

pytestmark = pytest.mark.xdist_group("llm_kills")  # one server for all

AT_ONCE = 8


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with ChatServer(latency_s=0.05, retry_after_s=300.0) as server:
        yield server


@pytest.fixture
def server(running: ChatServer) -> ChatServer:
    running.reset()
    return running


def set_up(place: Place, count: int) -> None:
    place.set_up(texts(count))
    place.set("runtime", concurrency=AT_ONCE)


def without_dates(place: Place) -> tuple[dict[str, bytes], list[tuple[str, str, str]]]:
    """Return the outputs; of the answers what they say, as each is written when it is given."""
    outputs = place.outputs()
    del outputs[RESPONSES.as_posix()]
    said = [
        (document, key, json.loads(response)["choices"][0]["message"]["content"])
        for document, key, response in place.responses().iter_rows()
    ]
    return outputs, said


def test_a_run_killed_at_random_points_asks_nothing_again_that_was_stored(place: Place, annotate: Runner) -> None:
    count, kills = 80, 3
    set_up(place, count)
    draw = random.Random(3)
    points = []
    for _ in range(kills):
        points.append(len(place.stored()) + draw.randint(AT_ONCE + 2, count // kills - AT_ONCE))
        process = place.start()
        place.wait_for_answers(points[-1], process)
        process.kill()
        process.communicate()
        assert place.outputs() == {}
    kept = len(place.stored())
    ended = annotate()
    assert (ended.code, ended.sent) == (0, count - kept), f"killed at {points}"
    asked = place.server.stats().asked.values()
    assert len(asked) == count
    assert sum(asked) - count <= kills * AT_ONCE, f"killed at {points}"
    killed = without_dates(place)

    (place.folder / ".cache").rename(place.folder / ".cache-of-the-killed")
    assert annotate().sent == count
    assert without_dates(place) == killed


def test_two_runs_at_once_ask_nothing_twice_and_write_the_same(place: Place) -> None:
    set_up(place, 30)
    first = place.start()
    place.wait_for_answers(1, first)
    first.send_signal(signal.SIGSTOP)
    second = place.start()
    assert second.stderr is not None
    assert "another process asks the same questions: waiting until it ends" in second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate()
    assert first.returncode == 0, said
    before = place.outputs()
    _, said = second.communicate()
    assert second.returncode == 0, said
    assert "30 from the store" in said
    assert place.outputs() == before
    assert set(place.server.stats().asked.values()) == {1}


def test_ctrl_c_waits_for_the_answers_on_their_way_and_keeps_them(place: Place, annotate: Runner) -> None:
    set_up(place, 60)
    process = place.start()
    place.wait_for_answers(10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted: the same command goes on where it stopped"
    assert "Traceback" not in said
    assert place.outputs() == {}
    stats = place.server.stats()
    assert sum(stats.asked.values()) == sum(stats.answered.values()) == len(place.stored()) < 60
    assert annotate().code == 0
    assert set(place.server.stats().asked.values()) == {1}


def test_ctrl_c_does_not_wait_for_the_end_of_a_pause(place: Place) -> None:
    """The endpoint asks for five minutes."""
    place.set_up({**texts(8), "d9": "fault: 429 x1"})
    process = place.start()
    place.wait_for_answers(8, process)
    while not place.server.stats().faults:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said


def test_a_response_of_the_last_output_that_was_lost_is_asked_for_again(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row without a response is none."""
    set_up(place, 3)
    annotate()
    responses = place.responses().with_columns(
        response=pl.when(pl.col("document_id") != "d001").then(pl.col("response"))
    )
    responses.write_parquet(place.folder / "last.parquet")
    (place.folder / ".cache").rename(place.folder / ".cache-of-before")
    content = (place.folder / "last.parquet").read_bytes()
    monkeypatch.setattr("stages.annotators.openai.last_output", lambda path: content)
    ended = annotate()
    assert (ended.code, ended.sent) == (0, 1)
