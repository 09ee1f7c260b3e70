"""How fast requests are sent: by limits that are given, else as fast as the server takes them."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

# Of a limit that is given or was found: arrivals spread a little on their way.
SHARE = 0.95
# Requests a second to start with, where no limit is given.
FIRST_RATE = 10.0
# Requests a second that each answer adds: doubles the rate each half second; once a limit was found, 0.5 % a second.
RAMP = 1.4
PROBE = 0.005
SLOWEST = 0.1
# Seconds after which who waits sees that the run has ended.
LONGEST_SLEEP = 0.5
# Seconds of lateness that are made up for: a timer wakes late.
TOLERANCE = 0.01
# Seconds over which the rate that a server took is measured when it refuses a request, and the least of them without a
# pause that tell anything.
WINDOW = 1.0
ENOUGH = 0.3
# Two refusals are by the same limit if the server took as much before both, within this share.
ALIKE = 0.05
# Seconds: longest wait that an answer's headers alone bring about. They say when a limit is whole again.
LONGEST_RESET = 60.0

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Throttle:
    """Lets requests through, one at a time, at a rate.

    Without limits the rate rises until the server refuses a request (429), falls just below what it took in the second
    before, and rises slowly. Where the next refusal comes at another rate, the one before was no limit but chance (or
    the limit has moved), and the rate rises as at first. A pause that the server asks for holds for all requests.
    """

    def __init__(self, requests_per_minute: float, tokens_per_minute: float) -> None:
        """Take the limits of the endpoint; 0: not known."""
        self._ceiling = SHARE * requests_per_minute / 60 if requests_per_minute else float("inf")
        self._token_rate = SHARE * tokens_per_minute / 60 if tokens_per_minute else float("inf")
        self.rate = self._ceiling if requests_per_minute else FIRST_RATE
        self._refused_at = 0.0
        self._limited = False
        self._turn = asyncio.Lock()
        self._ended = False
        self._next = 0.0
        self._resume = 0.0
        self._slowed = 0.0
        self._sent: deque[float] = deque()
        self._pauses: deque[tuple[float, float]] = deque([(0.0, time.monotonic())], maxlen=100)

    async def admit(self, tokens: int) -> float:
        """Wait for a turn; return the moment of it, which names the request.

        Args:
            tokens: that the request counts against a limit of tokens: those sent and those that may come back.
        """
        async with self._turn:
            while (wait := max(self._next, self._resume) - time.monotonic()) > 0 and not self._ended:
                await asyncio.sleep(min(wait, LONGEST_SLEEP))
            now = time.monotonic()
            self._next = max(self._next, now - TOLERANCE) + max(1 / self.rate, tokens / self._token_rate)
            self._sent.append(now)
            while self._sent[0] < now - 60:
                self._sent.popleft()
            return now

    def end(self) -> None:
        """Let nobody wait any more, as nothing is sent any more."""
        self._ended = True

    def accepted(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer: go faster, or wait if it says that nothing is left of a limit."""
        self.rate = min(self._ceiling, self.rate + (PROBE if self._limited else RAMP))
        for what in ("requests", "tokens"):
            reset = duration(headers.get(f"x-ratelimit-reset-{what}", ""))
            if headers.get(f"x-ratelimit-remaining-{what}") == "0" and reset:
                self._slow_down(time.monotonic())
                self.pause(min(reset, LONGEST_RESET))

    def refused(self, sent: float, wait: float) -> None:
        """Learn from a 429 for the request sent at `sent`: go slower, after `wait` seconds."""
        with suppress(ValueError):  # forgotten after a minute
            self._sent.remove(sent)
        self._slow_down(sent)
        self.pause(wait)

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long."""
        start, end = max(self._resume, time.monotonic()), time.monotonic() + seconds
        if end > start:
            self._pauses.append((start, end))
            self._resume = end

    def _slow_down(self, sent: float) -> None:
        if sent <= self._slowed:
            return  # sent at the rate that was too high then
        self._slowed = time.monotonic()
        since = sent - WINDOW
        active = WINDOW - sum(max(0.0, min(end, sent) - max(start, since)) for start, end in self._pauses)
        if active < ENOUGH:
            # Too short to measure by; but a server that takes a few requests a second refuses soon after each pause.
            self._limited, self.rate = False, max(SLOWEST, self.rate / 2)
            return
        taken = sum(since <= earlier < sent for earlier in self._sent) / active
        first = not self._refused_at
        self._limited = first or abs(taken - self._refused_at) <= ALIKE * self._refused_at
        if self._limited:
            self.rate = min(self.rate, max(FIRST_RATE if first else SLOWEST, SHARE * taken))
        self._refused_at = taken


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, None if it does not say.

    By `retry-after-ms`, `retry-after` (seconds or a date, RFC 9110, section 10.2.3), else by the rate-limit headers
    of limits of which nothing is left.
    """
    said = headers.get("retry-after", "")
    with suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    resets = [
        duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max(resets, default=None)


def duration(text: str) -> float:
    """Return the seconds of a duration as rate-limit headers write it (`6m0s`, `120ms`); 0 if it is none."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text))
