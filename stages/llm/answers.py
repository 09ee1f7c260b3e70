"""What an endpoint answers: the parts of a chat completion that are read."""

import json
from dataclasses import dataclass
from typing import Any


class MalformedError(Exception):
    """The body of a response is no chat completion."""


@dataclass(frozen=True)
class Answer:
    """A chat completion.

    `logprobs` are the tokens of `content` as bytes, each with its natural logarithm of probability; None where the
    endpoint gives none. Token counts are None where it does not count.
    """

    content: str
    refusal: str | None
    finish_reason: str | None
    logprobs: list[tuple[bytes, float]] | None
    prompt_tokens: int | None
    completion_tokens: int | None


def read_answer(body: str) -> Answer:
    """Read the body of a response. Fields that some servers leave out may be missing.

    Raises:
        MalformedError: if it is no JSON, or holds no message of text.
    """
    try:
        parsed = json.loads(body)
        choice = parsed["choices"][0]
        message = choice["message"]
        usage = parsed.get("usage") or {}
        return Answer(
            content=_text(message.get("content")) or "",
            refusal=_text(message.get("refusal")),
            finish_reason=choice.get("finish_reason"),
            logprobs=_logprobs(choice.get("logprobs")),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        raise MalformedError(f"{type(fault).__name__} in a body of {len(body)} characters") from None


def encodable(text: str) -> str:
    """Return `text` with a question mark for each half character: JSON can spell them, no file can hold them."""
    return text.encode(errors="replace").decode()


def _text(found: Any) -> str | None:
    if not isinstance(found, str | None):
        raise TypeError("no text")
    return found and encodable(found)


def _logprobs(found: Any) -> list[tuple[bytes, float]] | None:
    tokens = (found or {}).get("content")
    if not tokens:
        return None
    # A token may be part of a character; then only its bytes tell which.
    return [
        (bytes(token["bytes"]) if token.get("bytes") else token["token"].encode(), float(token["logprob"]))
        for token in tokens
    ]
