"""What a language model's answers say: a category, or why there is none."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stages.classes.names import normal
from stages.llm.answers import Answer, encodable

# Characters of a category that a model makes up.
LONGEST = 80
QUOTED_CHARACTERS = 100


@dataclass(frozen=True)
class Reply:
    """A category with its probability (None: not known), or an error whose first word names the kind."""

    category: str | None = None
    confidence: float | None = None
    error: str | None = None

    @property
    def kind(self) -> str:
        """What kind of failure: `refusal`, `length`, `content_filter`, `invalid` …; "" if there is a category."""
        return (self.error or "").partition(":")[0]


def read_reply(answer: Answer, categories: Sequence[str]) -> Reply:
    """Hold an answer against what was asked for.

    Args:
        categories: those allowed, case and spaces forgiven; none: any short one.
    """
    if answer.finish_reason == "content_filter":
        return Reply(error="content_filter: the endpoint withheld the answer")
    if answer.refusal:
        return Reply(error=f"refusal: {_quote(answer.refusal)}")
    if answer.finish_reason == "length":
        return Reply(error="length: the answer was cut off at annotate.openai.max_completion_tokens")
    start = answer.content.find("{")
    try:
        # Prose around it, or the object twice, is forgiven: asking again would be paid again.
        found, _ = json.JSONDecoder().raw_decode(answer.content, max(start, 0))
        category = found["category"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return Reply(error=f"invalid: no JSON with a category: {_quote(answer.content)}")
    if not isinstance(category, str) or not normal(category):
        return Reply(error=f"invalid: the category is no text: {_quote(answer.content)}")
    category = encodable(category)
    allowed = {normal(name): name for name in categories}
    if allowed and normal(category) not in allowed:
        return Reply(error=f"invalid: no category of categories.csv: {_quote(category)}")
    if len(category) > LONGEST:
        return Reply(error=f"invalid: longer than {LONGEST} characters: {_quote(category)}")
    name = allowed.get(normal(category), " ".join(category.split()))
    return Reply(name, _probability(answer, category))


def combine(replies: Sequence[Reply]) -> Reply:
    """Return what most of a document's replies say, of equally many what was said first.

    The confidence of several is the share of all that agree, failed ones included; that of one its own.
    """
    given = [reply for reply in replies if reply.category is not None]
    if len(replies) == 1 or not given:
        return replies[0]
    count = Counter(reply.category for reply in given)
    category, votes = count.most_common(1)[0]
    return Reply(category, votes / len(replies))


def _probability(answer: Answer, category: str) -> float | None:
    """Return the probability of the tokens that spell `category` in the answer, None if the endpoint gives none."""
    content = answer.content.encode()
    # Of the first object, as it was read: the name may stand in prose around it, too.
    behind = content.find(b'"category"', max(content.find(b"{"), 0)) + len(b'"category"')
    spelled = [json.dumps(category, ensure_ascii=ascii_only)[1:-1].encode() for ascii_only in (False, True)]
    places = [(content.find(form, behind), len(form)) for form in spelled]
    start, end = next(((place, place + length) for place, length in places if place >= 0), (0, 0))
    if answer.logprobs is None or start == end or b"".join(token for token, _ in answer.logprobs) != content:
        return None
    total, place = 0.0, 0
    for token, logprob in answer.logprobs:
        if place < end and place + len(token) > start:
            total += logprob
        place += len(token)
    return round(min(1.0, math.exp(total)), 4)


def _quote(text: str) -> str:
    return repr(" ".join(text.split())[:QUOTED_CHARACTERS])
