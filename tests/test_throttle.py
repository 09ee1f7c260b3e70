"""How fast requests are sent: limits that are given are kept, others are found, pauses hold for all."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.llm import throttle as module
from stages.llm.throttle import FIRST_RATE, SLOWEST, Throttle, duration, retry_after


class Clock:
    """Time that passes only while something sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.during_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.during_sleep()
        self.now += seconds


@contextmanager
def ticking() -> Iterator[Clock]:
    """Let the throttle go by a clock of the test's own."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", clock)
        patch.setattr(module, "asyncio", SimpleNamespace(Lock=asyncio.Lock, sleep=clock.sleep))
        yield clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    with ticking() as clock:
        yield clock


def admitted(clock: Clock, throttle: Throttle, waits: list[float], tokens: list[int]) -> list[float]:
    """Return when each request is let through that comes so many seconds after the one before."""

    async def run() -> list[float]:
        moments = []
        for wait, count in zip(waits, tokens, strict=True):
            clock.now += wait
            moments.append(await throttle.admit(count))
        return moments

    return asyncio.run(run())


def busiest(moments: list[float], amounts: list[int], seconds: float) -> int:
    """Return the most that any window of so many seconds holds."""
    return max(
        sum(amount for moment, amount in zip(moments, amounts, strict=True) if start <= moment < start + seconds)
        for start in moments
    )


# ---------------------------------------------------------------------------------------------------------------------
# Limits that are given
# ---------------------------------------------------------------------------------------------------------------------

# Requests come at once, or late: what was not used before is no credit.
WAITS = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.004, 0.1, 3.0]) | st.floats(0, 2), min_size=1, max_size=60)


@given(waits=WAITS, limit=st.sampled_from([60, 120, 600, 3000]))
def test_no_second_holds_more_requests_than_a_sixtieth_of_the_limit(waits: list[float], limit: int) -> None:
    with ticking() as clock:
        moments = admitted(clock, Throttle(limit, 0), waits, [1] * len(waits))
    assert busiest(moments, [1] * len(moments), 1) <= limit / 60


@given(data=st.data(), waits=WAITS)
def test_no_minute_holds_more_tokens_than_the_limit_before_its_last_request(
    data: st.DataObject, waits: list[float]
) -> None:
    tokens = data.draw(st.lists(st.integers(1, 900), min_size=len(waits), max_size=len(waits)))
    with ticking() as clock:
        moments = admitted(clock, Throttle(0, 1000), waits, tokens)
    for place in range(1, len(moments)):
        before = [count for moment, count in zip(moments[:place], tokens, strict=False) if moments[place] - 60 < moment]
        assert sum(before) <= 1000


def test_a_limit_is_used_and_answers_do_not_raise_the_rate_above_it(clock: Clock) -> None:
    throttle = Throttle(600, 0)
    for _ in range(1000):
        throttle.accepted({})
    start = clock.now
    moments = admitted(clock, throttle, [0.0] * 96, [1] * 96)
    assert moments[-1] - start == pytest.approx(10, abs=0.1)


# ---------------------------------------------------------------------------------------------------------------------
# Limits that are found
# ---------------------------------------------------------------------------------------------------------------------


def served(clock: Clock, throttle: Throttle, limit: int, seconds: float) -> tuple[int, int]:
    """Ask a server that takes so many requests within any second and says when it takes the next.

    Returns:
        How many it took and refused.
    """

    async def run() -> tuple[int, int]:
        taken: list[float] = []
        refused = 0
        end = clock.now + seconds
        while (sent := await throttle.admit(1)) < end:
            if sum(moment > sent - 1 for moment in taken[-limit:]) < limit:
                taken.append(sent)
                throttle.accepted({})
            else:
                refused += 1
                throttle.refused(sent, taken[-limit] + 1 - sent)
        return len(taken), refused

    return asyncio.run(run())


def test_the_rate_rises_while_nothing_is_refused(clock: Clock) -> None:
    throttle = Throttle(0, 0)
    rates = []
    for _ in range(4):
        rates.append(throttle.rate)
        served(clock, throttle, 10**6, 1)
    assert rates[0] == FIRST_RATE
    assert rates == sorted(rates)
    assert rates[-1] > 10 * FIRST_RATE


@pytest.mark.parametrize("limit", [8, 40, 200])
def test_a_limit_that_is_not_known_is_found(limit: int, clock: Clock) -> None:
    throttle = Throttle(0, 0)
    served(clock, throttle, limit, 10)
    taken, refused = served(clock, throttle, limit, 30)
    assert taken > 0.75 * 30 * limit
    assert refused < 0.1 * taken


def test_a_refusal_lowers_the_rate_once_for_all_that_were_sent_before(clock: Clock) -> None:
    throttle = Throttle(0, 0)
    served(clock, throttle, 10**6, 3)
    sent = admitted(clock, throttle, [0.0] * 5, [1] * 5)
    before = throttle.rate
    throttle.refused(sent[0], 1.0)
    lowered = throttle.rate
    assert lowered < before
    for moment in sent[1:]:
        throttle.refused(moment, 1.0)
    assert throttle.rate == lowered


@given(limit=st.sampled_from([0, 600]), refusals=st.lists(st.none() | st.floats(0, 3), min_size=1, max_size=60))
def test_whatever_is_refused_the_rate_keeps_within_its_bounds(limit: int, refusals: list[float | None]) -> None:
    """Of each request None: it is taken, else the seconds that the server asks to wait."""
    with ticking() as clock:
        throttle = Throttle(limit, 0)
        for wait in refusals:
            (sent,) = admitted(clock, throttle, [0.0], [1])
            if wait is None:
                throttle.accepted({})
            else:
                throttle.refused(sent, wait)
            assert throttle.rate >= SLOWEST
            assert not limit or throttle.rate <= limit / 60


def test_a_run_that_has_ended_lets_nobody_wait(clock: Clock) -> None:
    throttle = Throttle(60, 0)
    throttle.pause(500)
    start = clock.now
    clock.during_sleep = throttle.end
    assert max(admitted(clock, throttle, [0.0] * 5, [1] * 5)) < start + 5


# ---------------------------------------------------------------------------------------------------------------------
# Pauses
# ---------------------------------------------------------------------------------------------------------------------


def test_a_pause_holds_for_all_also_for_who_waits_already(clock: Clock) -> None:
    throttle = Throttle(600, 0)
    start = clock.now

    def pause_once() -> None:
        clock.during_sleep = lambda: None
        throttle.pause(7)
        throttle.pause(5)  # does not shorten it

    async def run() -> list[float]:
        await throttle.admit(1)
        clock.during_sleep = pause_once
        return await asyncio.gather(*(throttle.admit(1) for _ in range(5)))

    moments = asyncio.run(run())
    assert moments[0] == start + 7
    assert moments == sorted(moments)
    assert busiest(moments, [1] * 5, 0.3) <= 3  # and then the rate holds again


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}, 2.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 60.0),  # the longest
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "2s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0"}, 0.0),
    ],
)
def test_an_answer_that_says_that_nothing_is_left_brings_a_pause(
    headers: dict[str, str], seconds: float, clock: Clock
) -> None:
    throttle = Throttle(0, 0)
    start = clock.now
    throttle.accepted(headers)
    assert admitted(clock, throttle, [0.0], [1]) == [start + seconds]


# ---------------------------------------------------------------------------------------------------------------------
# What a server asks for
# ---------------------------------------------------------------------------------------------------------------------

SPENT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "1", "retry-after-ms": "120"}, 0.12),
        ({"retry-after": "1", "retry-after-ms": "?"}, 1.0),
        ({"retry-after": "1", **SPENT}, 1.0),
        (SPENT, 360.0),
        ({**SPENT, "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m1s"}, 361.0),
        ({**SPENT, "x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m1s"}, 360.0),
        ({**SPENT, "x-ratelimit-remaining-requests": "1"}, None),
    ],
)
def test_a_server_says_how_long_to_wait_in_several_ways(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_server_may_name_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 1_000_000.0))
    assert retry_after({"retry-after": formatdate(1_000_090, usegmt=True)}) == 90


@given(said=st.text() | st.from_regex(r"[\w,: +-]{0,30}"), milliseconds=st.none() | st.text())
def test_whatever_a_server_says_is_a_time_or_nothing(said: str, milliseconds: str | None) -> None:
    headers = {"retry-after": said} | ({} if milliseconds is None else {"retry-after-ms": milliseconds})
    wait = retry_after(headers)
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1s", 1),
        ("8.64s", 8.64),
        ("1h1m1.5s", 3661.5),
        ("1d", 86400),
        ("", 0),
        ("x", 0),
    ],
)
def test_durations_are_read_as_rate_limit_headers_write_them(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)
