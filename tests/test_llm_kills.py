"""A run that asks a language model dies, is interrupted or runs twice: nothing is paid for again."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    place.server.reset()
    assert annotate().sent == count
    assert without_dates(place) == killed
    assert place.server.stats().connections <= AT_ONCE  # kept open from one request to the next


@contextmanager
def meanwhile(when: Callable[[], object], do: Callable[[], None], otherwise: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `do` something when a condition is met, and something else if it runs on for a minute."""
    ended = threading.Event()

    def watch() -> None:
        while not when():
            if ended.wait(0.01):
                return
        do()
        if not ended.wait(60):
            otherwise()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_two_runs_at_once_ask_nothing_twice_and_write_the_same(
    place: Place, annotate: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(place, 30)
    first = place.start()
    place.wait_for_answers(1, first)
    first.send_signal(signal.SIGSTOP)
    waits = "another process asks the same questions: waiting until it ends"
    with meanwhile(lambda: waits in caplog.text, lambda: first.send_signal(signal.SIGCONT), first.kill):
        second = annotate()
    _, said = first.communicate()
    assert (first.returncode, second.code) == (0, 0), said + second.said
    assert "30 from the store" in second.said
    ours = place.outputs()
    assert annotate().sent == 0
    assert place.outputs() == ours
    assert set(place.server.stats().asked.values()) == {1}


@contextmanager
def ctrl_c(when: Callable[[], object]) -> Iterator[list[str]]:
    """Press Ctrl-C when a condition is met, and again if that does not end the block; yields what was pressed."""
    pressed: list[str] = []

    def press() -> None:
        pressed.append("Ctrl-C")
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(when, press, press):
        yield pressed


def test_ctrl_c_waits_for_the_answers_on_their_way_and_keeps_them(place: Place, annotate: Runner) -> None:
    set_up(place, 60)
    place.set("runtime", concurrency=4)
    with ctrl_c(lambda: len(place.stored()) >= 10) as pressed:
        ended = annotate()
    assert (ended.code, pressed) == (130, ["Ctrl-C"])
    assert "annotate: interrupted: waiting for the requests on their way" in ended.said
    assert ended.error == "interrupted: the same command goes on where it stopped"
    assert place.outputs() == {}
    stats = place.server.stats()
    assert sum(stats.asked.values()) == sum(stats.answered.values()) == len(place.stored()) < 60
    assert annotate().code == 0
    assert set(place.server.stats().asked.values()) == {1}


def test_ctrl_c_does_not_wait_for_the_end_of_a_pause(place: Place, annotate: Runner) -> None:
    """The endpoint asks for five minutes."""
    place.set_up({**texts(8), "d9": "fault: 429 x1"})

    def paused() -> bool:
        found = place.server.stats().faults == {"429": 1} and len(place.stored()) == 8
        time.sleep(0.5)  # and that has arrived
        return found

    with ctrl_c(paused) as pressed:
        ended = annotate()
    assert (ended.code, pressed) == (130, ["Ctrl-C"])


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
    monkeypatch.setattr("stages.annotators.openai.last_output", lambda path: place.folder / "last.parquet")
    ended = annotate()
    assert (ended.code, ended.sent) == (0, 1)
