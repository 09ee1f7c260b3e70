"""Asking a chat-completions endpoint: every answer from the store, or asked for once and stored as it arrives."""

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import httpx2
import openai
from openai import AsyncOpenAI

from stages.llm.answers import Answer, MalformedError, read_answer
from stages.llm.budget import Budget, Prices
from stages.llm.throttle import Throttle, retry_after
from stages.runtime.errors import UserError
from stages.store import Store

log = logging.getLogger(__name__)

Body = Mapping[str, Any]

# How often a request is sent whose answer does not arrive, and the seconds of the first and the longest wait between.
ATTEMPTS = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
# Seconds: who is told to wait longer, or is refused for so long, had better come back.
PATIENCE = 600.0
# A key that is no secret but a word (`EMPTY`, `ollama`, as servers of one's own take them) stands in answers by chance.
WORD = re.compile("[A-Za-z]{0,11}|.{0,4}")
# Of the endpoint's own words in an error.
QUOTED_CHARACTERS = 300


class UnansweredError(Exception):
    """No answer to this request could be had; the text says why."""


class StoppedError(Exception):
    """The run ends: no more requests are sent."""


@dataclass
class Spent:
    """What a run has sent for and paid."""

    answers: int = 0
    reused: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chat:
    """One endpoint, asked through a throttle and a budget."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout_s: float,
        throttle: Throttle,
        budget: Budget,
        prices: Prices,
        no_key: UserError | None = None,
    ) -> None:
        """Take the endpoint and what bounds the requests to it.

        Args:
            api_key: empty for an endpoint that wants none. Unless a mere word, it is taken out of all that comes back.
            timeout_s: seconds until a request counts as lost.
            no_key: raised in place of the first request; what the store answers needs no key.
        """
        self.base_url = base_url
        self.spent = Spent()
        self.budget = budget
        self._key = api_key
        self._no_key = no_key
        self._timeout = timeout_s
        self._throttle = throttle
        self._prices = prices
        self._store = Store("answers")
        self._client = AsyncOpenAI(api_key=api_key or "none", base_url=base_url, max_retries=0, timeout=timeout_s)
        self._stopped = asyncio.Event()
        self._asking = WeakValueDictionary[str, asyncio.Lock]()
        self._answered = time.monotonic()

    async def __aenter__(self) -> "Chat":
        """Return the endpoint."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._client.close()

    def stop(self) -> None:
        """Send nothing more; requests on their way are waited for."""
        self._stopped.set()
        self._throttle.end()

    @property
    def stopped(self) -> bool:
        """Whether the run ends."""
        return self._stopped.is_set()

    def summary(self) -> str:
        """Say what was asked and what it cost."""
        spent = self.spent
        text = (
            f"{spent.answers:,} answers from {self.base_url}, {spent.reused:,} from the store; "
            f"{spent.prompt_tokens:,} tokens in, {spent.completion_tokens:,} out, ${self.budget.spent:.4f}"
        )
        return text + (f"; {spent.lost:,} answers were lost on their way, counted at the most" if spent.lost else "")

    async def ask(self, body: Body, vote: int, tokens: int) -> tuple[str, Answer]:
        """Return the key and the answer to a request, from the store if it was asked before.

        Args:
            body: of the request; holds `max_completion_tokens`.
            vote: number of the question among equal ones.
            tokens: of the body, about.

        Raises:
            UnansweredError: if none arrives, or the endpoint refuses this request.
            StoppedError: if the run ends meanwhile.
            OutOfBudgetError: if the answer could cost more than is left.
            UserError: if the endpoint refuses every request: its address, the key or the model is wrong.
        """
        key = answer_key(self.base_url, body, vote)
        # Documents that are equal as far as they are read wait for one answer.
        async with self._asking.setdefault(key, asyncio.Lock()):
            if (stored := self._store.get(key)) is not None:
                self.spent.reused += 1
                return key, read_answer(stored.decode())
            if self._no_key is not None:
                raise self._no_key
            return key, await self._ask(key, body, tokens)

    async def _ask(self, key: str, body: Body, tokens: int) -> Answer:
        # No token is shorter than a byte.
        most = self._prices.cost(len(json.dumps(body, ensure_ascii=False).encode()), body["max_completion_tokens"])
        reason, unreachable = "", False
        attempt, refusals, begun = 0, 0, time.monotonic()
        while attempt < ATTEMPTS:
            if attempt:
                await self._sleep(random.uniform(0.5, 1) * min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)))
            if self.stopped:
                raise StoppedError
            await self.budget.reserve(most)
            cost = 0.0
            try:
                sent = await self._throttle.admit(tokens + body["max_completion_tokens"])
                if self.stopped:
                    raise StoppedError
                cost = most  # unless it turns out to be less
                text = await self._send(body)
                answer = read_answer(text)
                self._store.put(key, text.encode())
                cost = self._count(answer, most)
                return answer
            except openai.RateLimitError as fault:
                cost = 0.0
                refusals += 1
                if refusals >= ATTEMPTS and self._answered > begun < time.monotonic() - PATIENCE:
                    raise UnansweredError(f"rejected: again and again, unlike others: {self._quote(fault)}") from None
                self._refused(fault, sent)
            except openai.APIStatusError as fault:
                cost, unreachable = 0.0, False
                reason = self._status_error(fault)
                attempt += 1
            except (openai.APIConnectionError, TimeoutError, MalformedError) as fault:
                unreachable = isinstance(fault.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout))
                if unreachable:
                    cost = 0.0
                else:
                    self.spent.lost += 1
                reason = f"{'malformed' if isinstance(fault, MalformedError) else 'no answer'}: {self._quote(fault)}"
                attempt += 1
            finally:
                await self.budget.settle(most, cost)
        if unreachable:  # which is no fault of this document's
            raise UserError(f"annotate: {self.base_url} cannot be reached (check the address): {reason}")
        raise UnansweredError(reason)

    async def _send(self, body: Body) -> str:
        # The client's own time limit holds for each piece of an answer: one that drips would never end.
        async with asyncio.timeout(self._timeout):
            response = await self._client.chat.completions.with_raw_response.create(**body)
        self._answered = time.monotonic()
        self._throttle.accepted(response.headers)
        return self._redact(response.content.decode("utf-8", "replace"))

    def _count(self, answer: Answer, most: float) -> float:
        """Add an answer to what was spent, and return its cost."""
        self.spent.answers += 1
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            return most
        self.spent.prompt_tokens += answer.prompt_tokens
        self.spent.completion_tokens += answer.completion_tokens
        return self._prices.cost(answer.prompt_tokens, answer.completion_tokens)

    def _refused(self, fault: openai.RateLimitError, sent: float) -> None:
        """Wait as a 429 says; a quota that is used up, or a wait without end, ends the run.

        Raises:
            UserError: then.
            UnansweredError: if this request alone is more than a limit allows at any time.
        """
        if "request too large" in self._quote(fault).lower():  # OpenAI, of tokens per minute
            raise UnansweredError(f"rejected: {self._quote(fault)}")
        if fault.code == "insufficient_quota":
            raise UserError(f"annotate: {self.base_url}: the quota of this key is used up: {self._quote(fault)}")
        wait = retry_after(fault.response.headers)
        if wait is None:
            wait = random.uniform(0.5, 1.5)
        if wait > PATIENCE or time.monotonic() - self._answered > PATIENCE:
            raise UserError(
                f"annotate: {self.base_url} takes no more requests now (wait {wait:.0f} s): all answers so far are "
                "kept, the same command goes on later"
            )
        self._throttle.refused(sent, wait)

    def _status_error(self, fault: openai.APIStatusError) -> str:
        """Return why a request failed that may be sent again.

        Raises:
            UserError: if all others would fail likewise.
            UnansweredError: if this one always will.
        """
        said = self._quote(fault)
        if fault.status_code in (401, 403, 404):
            what = "the model's name or the address" if fault.status_code == 404 else "the key"
            raise UserError(f"annotate: {self.base_url} answers {fault.status_code} (check {what}): {said}")
        if fault.status_code < 500 and fault.status_code not in (408, 409):
            raise UnansweredError(f"{'content_filter' if fault.code == 'content_filter' else 'rejected'}: {said}")
        return f"no answer: {fault.status_code}: {said}"

    def _quote(self, fault: Exception) -> str:
        body = getattr(fault, "body", None)  # of an answer that is an error
        said = body.get("message") if isinstance(body, dict) else None
        text = str(said or fault) or "timed out"
        if fault.__cause__ is not None:
            text += f" {fault.__cause__}"
        return " ".join(self._redact(text).split())[:QUOTED_CHARACTERS]

    def _redact(self, text: str) -> str:
        return text if WORD.fullmatch(self._key) else text.replace(self._key, "[key]")

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the run."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return


def answer_key(base_url: str, body: Body, vote: int) -> str:
    """Return the key of an answer in the store: all that it depends on."""
    return Store.key(base_url=base_url.rstrip("/"), body=body, vote=vote)
