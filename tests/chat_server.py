"""A local server that speaks the OpenAI chat completions API, well or badly on purpose, and says what it saw.

    with ChatServer(latency_s=0.2, requests_per_second=100, faults={"500": 0.05}) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
        ...
        assert server.stats().key_leaks == 0

It runs in a process of its own, so that the client's GIL does not slow it, and ends with the process that started it.
What it answers (chat_answers.py) depends on the request, the seed and how often the same body came before, never on the
time. The text of a document may plant `label: NAME`, its category; `fault: NAME`, what goes wrong with each request
that holds this text; or `fault: NAME xN`, with the first N of them.
"""

import asyncio
import hashlib
import http.client
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import web

from tests.chat_answers import (
    ERRORS,
    SAID,
    ApiError,
    Json,
    category,
    chance,
    completion,
    content,
    document,
    invalid,
    parse,
    words,
)

HOST = "127.0.0.1"
UNLIMITED = 10**9


@dataclass
class Options:
    """What the server does. Shares are between 0 and 1."""

    api_key: str | None = "sk-test-0123456789abcdef"  # the one key it takes; None: any, or none
    latency_s: float = 0.0
    faults: dict[str, float] = field(default_factory=dict)  # share of the accepted requests, by name of the fault
    disagreement: float = 0.0  # share of the answers that give another category than the text's own
    seed: int = 0
    requests_per_second: int | None = None  # accepted within any second
    tokens_per_minute: int | None = None  # accepted within any minute, in words of the prompts
    token_window_s: float = 60.0  # shorter: the same rate over less time, for quick tests
    limit_headers: bool = False  # x-ratelimit-* on every answer, not on 429 alone
    retry_after_s: float | None = 1.0  # what the fault 429 asks for; None: it does not say
    drip_s: float = 0.2  # between two bytes of the fault drip
    keep_bodies: bool = False


@dataclass
class Stats:
    """What the server saw since it started, or since `reset`. A request arrives when all of it is there."""

    arrivals: list[float] = field(default_factory=list)  # time.monotonic() of each request
    refused: list[float] = field(default_factory=list)  # those of them that a rate limit refused
    busiest_second: int = 0  # the most arrivals within any second
    most_in_flight: int = 0
    connections: int = 0  # TCP connections opened
    asked: dict[str, int] = field(default_factory=Counter)  # requests by sha256 of the body, refused ones too
    answered: dict[str, int] = field(default_factory=Counter)  # those given status 200 and the whole body
    faults: dict[str, int] = field(default_factory=Counter)  # applied, by name
    prompt_tokens: int = 0  # of all completions, those that got lost on their way too: what a provider would bill
    completion_tokens: int = 0
    key_leaks: int = 0  # requests that hold the key in body, URL or a header other than Authorization
    bodies: list[Json] = field(default_factory=list)  # with keep_bodies, in order of arrival


class ChatServer(Options):
    """The server as tests use it: takes the options by name, runs while its `with` block does."""

    port: int

    def __enter__(self) -> Self:
        if not set(self.faults) <= set(FAULTS) or sum(self.faults.values()) > 1:
            raise ValueError(f"faults: shares of at most 1 in all, for names among {', '.join(FAULTS)}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chat_server", str(os.getpid()), json.dumps(asdict(self))],
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for pytest alone
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError("the chat server did not start")
        self.port = int(line)
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def stats(self) -> Stats:
        return Stats(**json.loads(self.control("GET", "/stats")))

    def reset(self) -> None:
        """Forget everything, as if just started: also what was asked before and what fills the rate limits."""
        self.control("POST", "/reset")

    def control(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request(method, path, headers={"Connection": "close"})
            return connection.getresponse().read()
        finally:
            connection.close()


# Everything below runs in the server's process.


class Window:
    """A limit on what is accepted within any `seconds` seconds."""

    def __init__(self, kind: str, limit: int, seconds: float) -> None:
        self.kind, self.limit, self.seconds = kind, limit, seconds
        self.taken: deque[tuple[float, int]] = deque()
        self.used = 0

    def wait(self, now: float, amount: int) -> float:
        """Return how long until `amount` is accepted: 0 is now."""
        while self.taken and self.taken[0][0] <= now - self.seconds:
            self.used -= self.taken.popleft()[1]
        free = self.limit - self.used
        if amount <= free:
            return 0.0
        for moment, size in self.taken:
            free += size
            if amount <= free:
                return moment + self.seconds - now
        return self.seconds  # more than the limit: it never will be

    def take(self, now: float, amount: int) -> None:
        self.taken.append((now, amount))
        self.used += amount

    def headers(self, now: float) -> dict[str, str]:
        """The limit a minute, as OpenAI counts; what would be accepted now; when nothing is used any more."""
        self.wait(now, 0)
        return {
            f"x-ratelimit-limit-{self.kind}": str(round(self.limit * 60 / self.seconds)),
            f"x-ratelimit-remaining-{self.kind}": str(self.limit - self.used),
            f"x-ratelimit-reset-{self.kind}": duration(self.taken[-1][0] + self.seconds - now if self.taken else 0.0),
        }


def duration(seconds: float) -> str:
    """Write a time as Go does, and OpenAI's headers with it: 120ms, 1s, 8.64s, 6m0s, 1h0m0s."""
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def too_many(kind: str, limit: str, wait: float | None) -> ApiError:
    """A 429; where `wait` is known, it is said in each way a client may look for."""
    message = f"Rate limit reached in organization org-test on {kind}: Limit {limit}."
    if wait is None:
        return ApiError(429, message, kind, "rate_limit_exceeded")
    error = ApiError(429, f"{message} Please try again in {duration(wait)}.", kind, "rate_limit_exceeded")
    error.headers = {
        "Retry-After": str(math.ceil(wait)),
        "retry-after-ms": str(math.ceil(wait * 1000)),
        f"x-ratelimit-remaining-{kind}": "0",
        f"x-ratelimit-reset-{kind}": duration(wait),
    }
    return error


class Service:
    """The endpoints and their memory."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.in_flight = 0
        self.forget()

    def forget(self) -> None:
        options = self.options
        tokens = round((options.tokens_per_minute or UNLIMITED) * options.token_window_s / 60)
        self.requests = Window("requests", options.requests_per_second or UNLIMITED, 1.0)
        self.tokens = Window("tokens", tokens, options.token_window_s)
        self.stats = Stats()
        self.seen: Counter[str] = Counter()
        self.votes: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()

    async def show(self, request: web.Request) -> web.Response:
        self.stats.connections -= 1  # this request came over one of its own
        return web.json_response({**vars(self.stats), "busiest_second": busiest(self.stats.arrivals)})

    async def reset(self, request: web.Request) -> web.Response:
        self.forget()
        return web.Response()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        now = time.monotonic()
        digest = hashlib.sha256(raw).hexdigest()
        self.stats.arrivals.append(now)
        self.stats.asked[digest] += 1
        self.in_flight += 1
        self.stats.most_in_flight = max(self.stats.most_in_flight, self.in_flight)
        try:
            self.check_key(request, raw)
            body = parse(raw)
            if self.options.keep_bodies:
                self.stats.bodies.append(body)
            self.check_limits(now, words(body))
            return await self.answer(request, body, digest)
        except ApiError as error:
            headers = self.headers(digest, limits=error.status == 429) | error.headers
            return web.json_response(error.body, status=error.status, headers=headers)
        except ConnectionError:
            return web.Response()  # the client hung up
        finally:
            self.in_flight -= 1

    def check_key(self, request: web.Request, raw: bytes) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        others = [value for name, value in request.headers.items() if name.lower() != "authorization"]
        if key and (key.encode() in raw or any(key in place for place in (request.path_qs, *others))):
            self.stats.key_leaks += 1
        if self.options.api_key is None:
            return
        if scheme != "Bearer" or not key:
            raise invalid("You didn't provide an API key in an Authorization header.", status=401)
        if key != self.options.api_key:
            raise invalid(f"Incorrect API key provided: {key[:3]}***{key[-4:]}.", "invalid_api_key", status=401)

    def check_limits(self, now: float, tokens: int) -> None:
        for window, amount in ((self.requests, 1), (self.tokens, tokens)):
            wait = window.wait(now, amount)
            if wait:
                self.stats.refused.append(now)
                raise too_many(window.kind, f"{window.limit} in {window.seconds:g}s, Used {window.used}", wait)
        self.requests.take(now, 1)
        self.tokens.take(now, tokens)

    async def answer(self, request: web.Request, body: Json, digest: str) -> web.StreamResponse:
        call = Call(self, request, body, digest, self.seen[digest], self.votes[digest])
        self.seen[digest] += 1
        fault = self.forced_fault(document(body)) or self.drawn_fault(digest, call.seen)
        if fault:
            self.stats.faults[fault] += 1
        if fault in USABLE:
            # What fails is no vote: the votes of a run are the same with faults and without.
            self.votes[digest] += 1
        await asyncio.sleep(self.options.latency_s)
        return await (FAULTS[fault] if fault else good)(call)

    def forced_fault(self, text: str) -> str | None:
        found = PLANTED_FAULT.search(text)
        if not found:
            return None
        self.planted[text] += 1
        name, times = found.groups()
        return name if times is None or self.planted[text] <= int(times) else None

    def drawn_fault(self, digest: str, seen: int) -> str | None:
        point = chance(self.options.seed, digest, seen)
        for name, share in self.options.faults.items():
            if point < share:
                return name
            point -= share
        return None

    def headers(self, digest: str, limits: bool = False) -> dict[str, str]:
        now = time.monotonic()
        return {
            "x-request-id": f"req_{digest[:32]}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(round(self.options.latency_s * 1000)),
            **(self.requests.headers(now) | self.tokens.headers(now) if limits or self.options.limit_headers else {}),
        }


@dataclass
class Call:
    """One accepted request, with what its answer depends on."""

    service: Service
    request: web.Request
    body: Json
    digest: str  # of the body
    seen: int  # how often this body was accepted before
    vote: int  # how many answers that a client can use this body had before

    def content(self) -> str:
        options = self.service.options
        salt = f"{options.seed} {self.digest} {self.vote}"
        return content(self.body, category(self.body, options.disagreement, salt))

    def completion(self, said: Json | None = None) -> Json:
        made = completion(self.body, said or {"content": self.content()}, self.digest, self.seen)
        self.service.stats.prompt_tokens += made["usage"]["prompt_tokens"]
        self.service.stats.completion_tokens += made["usage"]["completion_tokens"]
        return made

    async def send(
        self, payload: bytes | Json, kind: str = "application/json", pause_s: float = 0.0, cut: bool = False
    ) -> web.StreamResponse:
        """Send status 200 and the payload: at once, with a pause before each byte, or half of it."""
        if isinstance(payload, dict):
            payload = json.dumps(payload).encode()
        response = web.StreamResponse(headers=self.service.headers(self.digest))
        response.content_type, response.content_length = kind, len(payload)
        await response.prepare(self.request)
        if cut:
            await response.write(payload[: len(payload) // 2])
            return await drop(self)
        step = 1 if pause_s else len(payload)
        for place in range(0, len(payload), step):
            await asyncio.sleep(pause_s)
            await response.write(payload[place : place + step])
        await response.write_eof()
        self.service.stats.answered[self.digest] += 1
        return response


Fault = Callable[[Call], Awaitable[web.StreamResponse]]


async def good(call: Call) -> web.StreamResponse:
    return await call.send(call.completion())


async def slow(call: Call) -> web.StreamResponse:
    await asyncio.sleep(19 * call.service.options.latency_s)  # 20 in all
    return await good(call)


async def drop(call: Call) -> web.StreamResponse:
    assert call.request.transport is not None
    call.request.transport.close()
    raise ConnectionResetError


async def rate_limited(call: Call) -> web.StreamResponse:
    raise too_many("requests", "3 in 1s, Used 3", call.service.options.retry_after_s)


async def echo_key(call: Call) -> web.StreamResponse:
    return await call.send({**call.completion(), "system_fingerprint": call.request.headers.get("Authorization")})


def fails(error: Callable[[str, str], ApiError]) -> Fault:
    async def fault(call: Call) -> web.StreamResponse:
        raise error(call.body["model"], call.request.headers.get("Authorization", ""))

    return fault


def says(change: Callable[[str], Json]) -> Fault:
    async def fault(call: Call) -> web.StreamResponse:
        return await call.send(call.completion(change(call.content())))

    return fault


FAULTS: dict[str, Fault] = {
    **{name: fails(error) for name, error in ERRORS.items()},
    **{name: says(change) for name, change in SAID.items()},
    "429": rate_limited,
    "drop": drop,
    "drop_half": lambda call: call.send(call.completion(), cut=True),
    "drip": lambda call: call.send(call.completion(), pause_s=call.service.options.drip_s),
    "slow": slow,
    "malformed": lambda call: call.send(b'{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, '),
    "html": lambda call: call.send(b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>", "text/html"),
    "empty_choices": lambda call: call.send({**call.completion(), "choices": []}),
    "wrong_enum": lambda call: call.send(call.completion({"content": content(call.body, "none of these")})),
    "echo_key_200": echo_key,
}
USABLE = (None, "slow", "echo_key_200")
PLANTED_FAULT = re.compile(rf"\bfault: ({'|'.join(FAULTS)})\b(?: x(\d+)\b)?")


def busiest(moments: list[float]) -> int:
    """Return the most moments within any second; they come in order."""
    most = first = 0
    for place, moment in enumerate(moments):
        while moments[first] <= moment - 1:
            first += 1
        most = max(most, place - first + 1)
    return most


async def serve(parent: int, options: Options) -> None:
    """Print the port and serve until the parent is gone, however it went."""
    service = Service(options)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", service.chat)
    app.router.add_get("/stats", service.show)
    app.router.add_post("/reset", service.reset)
    # Cancellation: a client that hung up is no longer in flight.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()

    def connected() -> asyncio.Protocol:
        service.stats.connections += 1
        assert runner.server is not None
        return runner.server()  # which sets TCP_NODELAY: nothing it writes waits for an ACK of the client's

    listener = await asyncio.get_running_loop().create_server(connected, HOST, 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Options(**json.loads(sys.argv[2]))))
