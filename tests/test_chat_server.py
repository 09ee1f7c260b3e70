"""The chat server of the tests is what it claims to be, to OpenAI's own client."""

import asyncio
import functools
import hashlib
import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.chat_server import FAULTS, ChatServer, busiest, duration
from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("chat_server")  # one server for most of them

SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "category": {"$ref": "#/$defs/Category"}},
    "required": ["reason", "category"],
    "additionalProperties": False,
    "$defs": {"Category": {"type": "string", "enum": ["rail", "rail freight", "brot & käse", "other"]}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with ChatServer(latency_s=0.01, drip_s=0.0005) as server:
        yield server


def client(server: ChatServer, **options: Any) -> openai.OpenAI:
    options = {"api_key": server.api_key, "max_retries": 0, "timeout": 10, **options}
    return openai.OpenAI(base_url=server.base_url, http_client=transport(), **options)


@functools.cache
def transport() -> openai.DefaultHttpxClient:
    """One for all: each new one reads the certificates."""
    return openai.DefaultHttpxClient()


def ask(server: ChatServer, text: str, using: openai.OpenAI | None = None, **more: Any) -> ChatCompletion:
    messages: Any = [{"role": "system", "content": "Say what it is."}, {"role": "user", "content": text}]
    completions: Any = (using or client(server)).chat.completions
    answer = completions.create(model="gpt-test", messages=messages, **{"response_format": FORMAT, **more})
    assert isinstance(answer, ChatCompletion)
    return answer


def category(answer: ChatCompletion) -> str:
    content = json.loads(answer.choices[0].message.content or "")
    assert list(content) == ["reason", "category"]
    return str(content["category"])


def test_an_answer_has_every_field_of_a_real_one(server: ChatServer) -> None:
    text = "all about label: brot & käse and more"
    answer = ask(server, text, logprobs=True, top_logprobs=3, reasoning_effort="low")
    ChatCompletion.model_validate(answer.model_dump(), strict=True)
    assert category(answer) == "brot & käse"
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.refusal, answer.model) == ("stop", None, "gpt-test")
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert "".join(token.token for token in tokens) == choice.message.content
    assert {len(token.top_logprobs) for token in tokens} == {3}
    assert all(sum(math.exp(top.logprob) for top in token.top_logprobs) < 1 for token in tokens)
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens == 4 + len(text.split())
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens == len(tokens) + (usage.completion_tokens_details.reasoning_tokens or 0)


def test_the_category_is_planted_or_a_matter_of_the_text_alone(server: ChatServer) -> None:
    assert category(ask(server, "label: rail freight")) == "rail freight"
    assert category(ask(server, "label: rail, freight")) == "rail"
    plain = [category(ask(server, f"text {number}")) for number in range(8)]
    assert len(set(plain)) > 1
    server.reset()
    assert [category(ask(server, f"text {number}", temperature=1)) for number in range(8)] == plain
    free = ask(server, "text", response_format={"type": "json_object"})
    assert re.fullmatch(r'\{"category": "topic \d"\}', free.choices[0].message.content or "")


def test_faults_and_votes_are_the_same_in_every_run_and_votes_with_faults_or_without() -> None:
    def run(server: ChatServer) -> tuple[list[str], dict[str, int]]:
        server.reset()
        using = client(server)
        votes: list[str] = []
        while len(votes) < 30:
            try:
                votes.append(category(ask(server, "label: rail", using)))
            except openai.InternalServerError:
                continue
        return votes, server.stats().faults

    with ChatServer(disagreement=0.3, faults={"500": 0.2, "503": 0.2}) as faulty, ChatServer(disagreement=0.3) as sound:
        votes, faults = run(faulty)
        assert run(faulty) == (votes, faults)
        assert run(sound) == (votes, {})
    assert 3 <= sum(vote != "rail" for vote in votes) <= 15
    assert set(faults) == {"500", "503"}


def test_no_more_is_accepted_in_a_second_than_the_limit() -> None:
    with ChatServer(requests_per_second=5, tokens_per_minute=600, token_window_s=5, limit_headers=True) as server:
        using = client(server)
        raw = using.chat.completions.with_raw_response
        first = raw.create(model="m", messages=[{"role": "user", "content": "three words here"}])
        assert first.headers["x-ratelimit-limit-requests"] == "300"
        assert first.headers["x-ratelimit-remaining-requests"] == "4"
        assert first.headers["x-ratelimit-remaining-tokens"] == "47"
        assert re.fullmatch(r"9\d\dms|1s", first.headers["x-ratelimit-reset-requests"])
        with pytest.raises(openai.RateLimitError, match="tokens: Limit 50 in 5s, Used 3"):
            ask(server, "x " * 44, using)
        with pytest.raises(openai.RateLimitError, match="requests: Limit 5 in 1s, Used 5") as refused:
            _ = [ask(server, "x", using) for _ in range(10)]
        headers = refused.value.response.headers
        assert (headers["retry-after"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
        assert refused.value.code == "rate_limit_exceeded"
        time.sleep(int(headers["retry-after-ms"]) / 1000)
        ask(server, "x", using)
        stats = server.stats()
    assert len(stats.refused) == 2
    assert sum(stats.answered.values()) == len(stats.arrivals) - 2
    assert busiest([moment for moment in stats.arrivals if moment not in stats.refused]) == 5
    assert stats.busiest_second >= 6
    assert stats.connections == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.12, "120ms"), (1, "1s"), (8.64, "8.64s"), (360, "6m0s"), (3661.5, "1h1m1.5s")],
)
def test_times_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


ERRORS = {
    "429": (openai.RateLimitError, "rate_limit_exceeded"),
    "quota": (openai.RateLimitError, "insufficient_quota"),
    "too_large_429": (openai.RateLimitError, "rate_limit_exceeded"),
    "500": (openai.InternalServerError, None),
    "503": (openai.InternalServerError, None),
    "echo_key": (openai.InternalServerError, None),
    "forbidden": (openai.PermissionDeniedError, "unsupported_country_region_territory"),
    "no_model": (openai.NotFoundError, "model_not_found"),
    "bad_request": (openai.BadRequestError, "invalid_value"),
    "too_long": (openai.BadRequestError, "context_length_exceeded"),
    "filtered_400": (openai.BadRequestError, "content_filter"),
    "drop": (openai.APIConnectionError, None),
    "drop_half": (openai.APIConnectionError, None),
    "malformed": (json.JSONDecodeError, None),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_a_planted_fault_is_the_error_it_says_the_first_times(fault: str, server: ChatServer) -> None:
    kind, code = ERRORS[fault]
    text = f"a text with fault: {fault} x1 and label: rail"
    with pytest.raises(kind) as caught:
        ask(server, text)
    assert getattr(caught.value, "code", None) == code
    assert category(ask(server, text)) == "rail"
    stats = server.stats()
    assert stats.faults == {fault: 1}
    assert list(stats.asked.values()) == [2]
    assert list(stats.answered.values()) == [2 if fault == "malformed" else 1]


def test_planted_faults_of_content(server: ChatServer) -> None:
    def said(fault: str) -> tuple[str, str | None, str | None]:
        choice = ask(server, f"fault: {fault}\nlabel: rail").choices[0]
        return choice.finish_reason, choice.message.content, choice.message.refusal

    good = '{"reason": "text", "category": "rail"}'
    assert said("slow") == ("stop", good, None)
    assert said("echo_key_200") == ("stop", good, None)
    assert said("duplicate") == ("stop", f"{good}\n{good}", None)
    assert said("length") == ("length", good[: len(good) // 2], None)
    assert said("content_filter") == ("content_filter", "", None)
    assert said("wrong_enum") == ("stop", good.replace("rail", "none of these"), None)
    assert said("refusal")[:2] == ("stop", None)
    assert f"```json\n{good}\n```" in (said("prose")[1] or "")
    with pytest.raises(json.JSONDecodeError):
        json.loads(said("invalid_json")[1] or "")
    assert ask(server, "fault: empty_choices").choices == []
    html: Any = client(server).chat.completions.create(model="m", messages=[{"role": "user", "content": "fault: html"}])
    assert html.startswith("<!DOCTYPE html>")
    assert set(server.stats().faults) | {"drip"} == set(FAULTS) - set(ERRORS)


def test_what_drips_outlives_the_timeout_of_a_client_that_waits_for_each_byte(server: ChatServer) -> None:
    start = time.monotonic()
    assert category(ask(server, "fault: drip, label: rail", client(server, timeout=0.2))) == "rail"
    assert time.monotonic() - start > 0.2


def test_the_key_is_needed_and_seen_where_it_does_not_belong(server: ChatServer) -> None:
    for header in ("Bearer", "Basic c2s=", "Bearer sk-another"):
        with pytest.raises(openai.AuthenticationError):
            ask(server, "x", client(server, default_headers={"Authorization": header}))
    assert server.stats().key_leaks == 0
    with pytest.raises(openai.InternalServerError, match=f"Bearer {server.api_key}"):
        ask(server, "fault: echo_key")
    assert (ask(server, "fault: echo_key_200").system_fingerprint or "").endswith(server.api_key or "?")
    assert server.stats().key_leaks == 0
    ask(server, f"the key is {server.api_key}")
    ask(server, "x", client(server, default_headers={"X-Key": f"it is {server.api_key}"}))
    assert server.stats().key_leaks == 2


def test_a_schema_that_strict_mode_refuses_is_refused(server: ChatServer) -> None:
    loose = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {**SCHEMA, "required": []}}}
    with pytest.raises(openai.BadRequestError, match="additionalProperties"):
        ask(server, "x", response_format=loose)


def test_what_comes_at_once_is_counted_and_bodies_are_kept() -> None:
    async def ask_all(server: ChatServer) -> None:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="any key") as using:
            one = using.chat.completions.create
            texts = ["same", "same", *map(str, range(18))]
            await asyncio.gather(*(one(model="m", messages=[{"role": "user", "content": text}]) for text in texts))

    with ChatServer(api_key=None, latency_s=0.3, keep_bodies=True) as server:
        asyncio.run(ask_all(server))
        stats = server.stats()
    assert (stats.most_in_flight, stats.connections, stats.busiest_second) == (20, 20, 20)
    assert sorted(stats.asked.values()) == [1] * 18 + [2]
    assert len(stats.bodies) == 20
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in stats.asked)
    assert stats.arrivals == sorted(stats.arrivals)
    assert stats.arrivals[-1] < time.monotonic()


def test_it_ends_with_its_parent_and_options_are_checked() -> None:
    script = "from tests.chat_server import *\nwith ChatServer() as s: print(s.port, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    socket.create_connection(("127.0.0.1", port)).close()
    parent.kill()
    parent.communicate()
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the server outlived its parent")
    with pytest.raises(ValueError, match="among"), ChatServer(faults={"fire": 0.1}):
        pass
