"""What the chat server of the tests says: answers in OpenAI's shape as a function of the request, and errors.

The text of a document may plant its category: `label: NAME`. Planted words (also `fault: NAME`, see chat_server.py) are
looked for in the last user message that has any.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """Becomes an answer in OpenAI's shape of an error."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str | None,
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def invalid(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> ApiError:
    return ApiError(status, message, "invalid_request_error", code, param)


def chance(*of: object) -> float:
    """Return a number from 0 to below 1 that depends on the arguments alone."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:6], "big") / 2**48


# Reading a request.


def parse(raw: bytes) -> Json:
    """Return the body of a request; refuse what OpenAI refuses, and what this server does not do."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise invalid("you must provide a model parameter")
    messages = body.get("messages")
    if not messages or not all(isinstance(message, dict) and "role" in message for message in messages):
        raise invalid("Invalid 'messages': a list of objects with a role.", param="messages")
    for name, value in (("n", 1), ("stream", False)):
        if body.get(name) not in (value, None):
            raise invalid(f"This server does not do '{name}'.", "unsupported_value", name)
    if (body.get("response_format") or {}).get("json_schema", {}).get("strict"):
        check_strict(schema_of(body))
    return body


def schema_of(body: Json) -> Json:
    schema: Json = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    return schema


def check_strict(schema: Json) -> None:
    for table in tables(schema):
        properties = table.get("properties")
        if table.get("type") == "object" and isinstance(properties, dict):
            closed = table.get("additionalProperties") is False
            if not closed or set(table.get("required", ())) != set(properties):
                message = "Invalid schema: 'additionalProperties' has to be false, 'required' to name every property."
                raise invalid(message, "invalid_json_schema", "response_format")


def tables(node: Any) -> Iterator[Json]:
    """Yield every object in a JSON value, the outer ones first."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, dict | list):
        for below in node.values() if isinstance(node, dict) else node:
            yield from tables(below)


def texts(body: Json, role: str = "") -> list[str]:
    """Return the text of each message, or of those of a role; one may come in parts."""
    contents = [message.get("content") or "" for message in body["messages"] if role in ("", message["role"])]
    return [text if isinstance(text, str) else "".join(part.get("text", "") for part in text) for text in contents]


def words(body: Json) -> int:
    return sum(len(text.split()) for text in texts(body))


def document(body: Json) -> str:
    """Return the last user message with something planted (a later one may just ask again), else the last."""
    users = texts(body, "user")
    return ([text for text in users if "label: " in text or "fault: " in text] or users or [""])[-1]


# A good answer.


def category(body: Json, disagreement: float, salt: str) -> str:
    """Return the planted category, or one by hash of the text; or, in a share of all salts, another."""
    text, names = document(body), allowed(schema_of(body))
    pool = names or [f"topic {number}" for number in range(10)]
    chosen = planted_label(text, names) or pool[int(chance(text) * len(pool))]
    others = [name for name in pool if name != chosen]
    if others and chance(salt) < disagreement:
        return others[int(chance(salt, "which") * len(others))]
    return chosen


def allowed(schema: Json) -> list[str]:
    """Return the enum of the property `category`, wherever in the schema it is."""
    for table in tables(schema):
        for inner in tables(table.get("category")):
            enum = (target(inner["$ref"], schema) if "$ref" in inner else inner).get("enum")
            if enum:
                return [name for name in enum if isinstance(name, str)]
    return []


def target(reference: str, root: Json) -> Json:
    """Return what a `$ref` such as `#/$defs/Category` stands for."""
    found: Json = root["$defs"][reference.rpartition("/")[2]]
    return found


def planted_label(text: str, names: list[str]) -> str | None:
    """Return what the last `label: ` names: the longest of the names; without names a word, or what is in quotes."""
    after = text.rpartition("label: ")[2] if "label: " in text else ""
    if names:
        return max((name for name in names if after.lstrip('"').startswith(name)), key=len, default=None)
    found = re.match(r'"([^"\n]+)"|([\w&/+-]+)', after)
    return found[1] or found[2] if found else None


def content(body: Json, name: str) -> str:
    """Return what the model says, as JSON that keeps to the schema, `name` being the category."""
    schema = schema_of(body)
    return json.dumps(filled(schema, name, schema) if schema else {"category": name}, ensure_ascii=False)


def filled(schema: Json, name: str, root: Json) -> Any:
    if "$ref" in schema:
        return filled(target(schema["$ref"], root), name, root)
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], name, root)
    if "properties" in schema:
        below = schema["properties"].items()
        return {key: name if key == "category" else filled(value, name, root) for key, value in below}
    values = {"string": "text", "number": 0.5, "integer": 1, "boolean": True, "array": []}
    return (schema.get("enum") or [schema.get("const", values.get(str(schema.get("type"))))])[0]


def completion(body: Json, said: Json, digest: str, seen: int) -> Json:
    """Return an answer in OpenAI's shape, every field of it. `said`: content, or also refusal and finish_reason."""
    message = {"role": "assistant", "content": said["content"], "refusal": said.get("refusal"), "annotations": []}
    # Reasoning is paid for but not seen; the cache holds whole blocks of 128 tokens, from the second time on.
    reasoning = 64 if body.get("reasoning_effort") not in (None, "none", "minimal") else 0
    completed = len(pieces(message["content"] or message["refusal"] or "")) + reasoning
    cached = words(body) // 128 * 128 if seen else 0
    probabilities = None
    if body.get("logprobs"):
        most = body.get("top_logprobs") or 0
        probabilities = {
            part: None if message[part] is None else logprobs(message[part], most, f"{digest} {seen}")
            for part in ("content", "refusal")
        }
    choice = {"index": 0, "message": message, "logprobs": probabilities}
    return {
        "id": f"chatcmpl-{digest[:24]}{seen:05}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{**choice, "finish_reason": said.get("finish_reason", "stop")}],
        "usage": {
            "prompt_tokens": words(body),
            "completion_tokens": completed,
            "total_tokens": words(body) + completed,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def pieces(text: str) -> list[str]:
    """Cut a text into tokens that concatenate to it, some words into several."""
    return re.findall(r"\s*\w{1,4}|\s*[^\w\s]+|\s+", text)


def logprobs(text: str, most: int, salt: str) -> list[Json]:
    """Return each token with its `most` likeliest: itself, then others, in all less than 1."""

    def entry(token: str, probability: float) -> Json:
        return {"token": token, "logprob": round(math.log(probability), 6), "bytes": list(token.encode())}

    tokens = []
    for place, token in enumerate(pieces(text)):
        likely = 0.6 + 0.39 * chance(salt, place)
        others = [entry(f"other{rank}", (1 - likely) / 2**rank) for rank in range(1, most)]
        own = entry(token, likely)
        tokens.append({**own, "top_logprobs": [own, *others][:most]})
    return tokens


# Bad answers: what becomes of a good content, by name of the fault.
SAID: dict[str, Callable[[str], Json]] = {
    "invalid_json": lambda content: {"content": content[:-1].replace('"', "'")},
    "prose": lambda content: {"content": f"My answer:\n\n```json\n{content}\n```\n\nAsk me if in doubt."},
    "duplicate": lambda content: {"content": f"{content}\n{content}"},
    "refusal": lambda content: {"content": None, "refusal": "I'm sorry, but I can't assist with that request."},
    "length": lambda content: {"content": content[: len(content) // 2], "finish_reason": "length"},
    "content_filter": lambda content: {"content": "", "finish_reason": "content_filter"},
}

# Errors, by name of the fault, from the model asked for and the header Authorization.
ERRORS: dict[str, Callable[[str, str], ApiError]] = {
    "500": lambda model, key: ApiError(500, "The server had an error while processing your request.", "server_error"),
    "503": lambda model, key: ApiError(503, "The engine is currently overloaded, please try again.", "server_error"),
    "echo_key": lambda model, key: ApiError(500, f"Upstream failed. Authorization: {key}", "server_error"),
    "quota": lambda model, key: ApiError(
        429, "You exceeded your current quota, please check your plan.", "insufficient_quota", "insufficient_quota"
    ),
    "too_large_429": lambda model, key: ApiError(  # a request beyond the limit of a minute: it never fits
        429,
        f"Request too large for {model} on tokens per min (TPM): Limit 30000, Requested 31538.",
        "tokens",
        "rate_limit_exceeded",
    ),
    "forbidden": lambda model, key: ApiError(
        403, "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
    ),
    "no_model": lambda model, key: invalid(f"The model `{model}` does not exist.", "model_not_found", status=404),
    "bad_request": lambda model, key: invalid("Invalid value: 'x'.", "invalid_value", "temperature"),
    "too_long": lambda model, key: invalid(
        "This model's maximum context length is 8192 tokens.", "context_length_exceeded", "messages"
    ),
    "filtered_400": lambda model, key: ApiError(  # as Azure words it
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        None,
        "content_filter",
        "prompt",
        innererror={
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    ),
}
