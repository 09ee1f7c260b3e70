"""What a language model's answers say: every kind of them, how sure they are, and what several say together."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.annotators.replies import Reply, combine, read_reply
from stages.llm.answers import Answer, MalformedError, read_answer

CATEGORIES = ["rail", "Brot & Käse", "rail freight"]


def said(
    content: str,
    categories: list[str] | None = None,
    *,
    refusal: str | None = None,
    finish: str | None = "stop",
    logprobs: list[tuple[bytes, float]] | None = None,
) -> Reply:
    """Return what an answer of this content says; `categories` are CATEGORIES, [] in open mode."""
    answer = Answer(content, refusal, finish, logprobs, None, None)
    return read_reply(answer, CATEGORIES if categories is None else categories)


def named(category: object) -> str:
    return json.dumps({"category": category}, ensure_ascii=False)


# ---------------------------------------------------------------------------------------------------------------------
# Kinds of answers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "category"),
    [
        ('{"category": "rail"}', "rail"),
        ('{"category": " RAIL  Freight\\n"}', "rail freight"),
        ('{"category": "brot & k\\u00e4se"}', "Brot & Käse"),
        ('Sure!\n```json\n{"category": "rail"}\n```\nAsk me if in doubt.', "rail"),
        ('{"category": "rail"}\n{"category": "rail"}', "rail"),
        ('{"category": "rail"}{"category": "rail freight"}', "rail"),
        ('{"reason": "{braces}", "category": "rail"}', "rail"),
    ],
)
def test_an_answer_that_names_a_category_is_read_however_it_is_wrapped(content: str, category: str) -> None:
    assert said(content) == Reply(category)


TOO_MUCH = ['{"class": "rail"}', "{" * 100_000, '{"category": ' + "1" * 10_000 + "}"]


@pytest.mark.parametrize(
    "content",
    ["", "rail", '"rail"', '["rail"]', "7", "null", "{", '{"category": "rail', "{'category': 'rail'}", "{}", *TOO_MUCH],
)
def test_no_json_with_a_category_is_invalid_and_quoted_in_part(content: str) -> None:
    reply = said(content)
    assert (reply.category, reply.confidence, reply.kind) == (None, None, "invalid")
    assert reply.error == f"invalid: no JSON with a category: {content[:100]!r}"


@pytest.mark.parametrize("category", [None, 7, ["rail"], {"name": "rail"}, "", " \n"])
def test_a_category_that_is_no_text_is_invalid(category: object) -> None:
    for allowed in (CATEGORIES, []):
        assert (said(named(category), allowed).error or "").startswith("invalid: the category is no text: ")


def test_a_category_that_is_none_of_those_allowed_is_invalid() -> None:
    assert said(named("trains")) == Reply(error="invalid: no category of categories.csv: 'trains'")
    assert said(named("rail freight x")).kind == "invalid"


def test_where_the_model_makes_categories_up_any_short_one_is_good() -> None:
    assert said(named("  machine \t learning ")[:-1] + "}", []) == Reply("machine learning")
    assert said(named("x" * 80), []) == Reply("x" * 80)
    assert said(named("x" * 81), []) == Reply(error=f"invalid: longer than 80 characters: {'x' * 81!r}")


def test_an_answer_that_was_withheld_refused_or_cut_off_says_so() -> None:
    """Whatever the content: half an answer is none."""
    good = named("rail")
    assert said(good, finish="content_filter").kind == "content_filter"
    assert said(good, refusal="I can't\n help.") == Reply(error='refusal: "I can\'t help."')
    assert said(good, finish="length").error == (
        "length: the answer was cut off at annotate.openai.max_completion_tokens"
    )
    assert said(good, refusal="no", finish="content_filter").kind == "content_filter"
    assert said(good, finish=None) == said(good, finish="tool_calls") == Reply("rail")
    assert said(good).kind == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["category", "a"]) | st.text(), inner),
    max_leaves=5,
)
# A body may hold halves of surrogate pairs, written \ud83d: text that cannot be encoded.
ANY_TEXT = st.text() | st.text("a\ud83d\ude00")
CONTENTS = (
    ANY_TEXT.map(lambda text: json.dumps({"category": text})) | ANY_TEXT.map(named) | ANY_TEXT | JSON.map(json.dumps)
)


@given(content=CONTENTS, open_mode=st.booleans())
def test_whatever_is_said_there_is_a_category_or_a_reason_and_it_can_be_written(content: str, open_mode: bool) -> None:
    body = json.dumps({"choices": [{"message": {"content": content}}]})
    answer = read_answer(body)
    reply = read_reply(answer, [] if open_mode else CATEGORIES)
    assert (reply.category is None) != (reply.error is None)
    assert open_mode or reply.category in [*CATEGORIES, None]
    (reply.category or reply.error or "").encode()
    answer.content.encode()  # goes back where it could not be read


# ---------------------------------------------------------------------------------------------------------------------
# The body of a response
# ---------------------------------------------------------------------------------------------------------------------


def test_fields_that_some_servers_leave_out_may_be_missing() -> None:
    answer = read_answer('{"choices": [{"message": {"content": null}}], "usage": null}')
    assert answer == Answer("", None, None, None, None, None)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "{}",
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"choices": [{"message": null}]}',
        '{"error": 1}',
        '{"choices": [{"message": {"content": [{"type": "text", "text": "rail"}]}}]}',
        '{"choices": [{"message": {"content": {"category": "rail"}}}]}',
    ],
)
def test_what_holds_no_message_of_text_is_malformed(body: str) -> None:
    with pytest.raises(MalformedError):
        read_answer(body)


# ---------------------------------------------------------------------------------------------------------------------
# Confidence
# ---------------------------------------------------------------------------------------------------------------------


def tokens(*pieces: tuple[str | bytes, float]) -> list[tuple[bytes, float]]:
    """Make log-probabilities of pieces and their probabilities."""
    return [(piece if isinstance(piece, bytes) else piece.encode(), math.log(share)) for piece, share in pieces]


OPENING = ('{"category": "', 0.9)


def test_the_confidence_is_the_product_over_the_tokens_of_the_category() -> None:
    """0.8 x 0.5, and what stands around counts nothing."""
    given_ = tokens(('{"', 0.1), ("category", 0.2), ('": "', 0.3), ("ra", 0.8), ("il", 0.5), ('"}', 0.4))
    assert said(named("rail"), logprobs=given_) == Reply("rail", 0.4)


def test_a_token_that_reaches_over_the_edge_counts_whole() -> None:
    assert said(named("rail"), logprobs=tokens(('{"category":', 0.9), (' "rail', 0.5), ('"}', 0.9))).confidence == 0.5


def test_a_token_may_be_part_of_a_character() -> None:
    first, second = "ä".encode()[:1], "ä".encode()[1:]
    given_ = tokens(OPENING, ("Brot & K", 0.5), (first, 0.5), (second + b"se", 0.8), ('"}', 0.1))
    assert said(named("Brot & Käse"), logprobs=given_).confidence == 0.2


def test_a_category_may_be_spelled_with_escapes() -> None:
    content = '{"category": "Brot & K\\u00e4se"}'
    given_ = tokens(OPENING, ("Brot & K", 0.5), ("\\u00e4", 0.5), ("se", 1.0), ('"}', 0.1))
    assert said(content, logprobs=given_).confidence == 0.25


def test_what_follows_the_answer_does_not_count() -> None:
    """Prose that names the category again, or the object twice."""
    start = [OPENING, ("rail", 0.5), ('"}', 0.9)]
    prose = tokens(*start, ("\nIt is about ", 0.9), ("rail", 0.1), (".", 0.9))
    assert said(named("rail") + "\nIt is about rail.", logprobs=prose).confidence == 0.5
    twice = tokens(*start, ("\n", 0.9), ('{"category": "', 0.9), ("rail", 0.2), ('"}', 0.9))
    assert said(f"{named('rail')}\n{named('rail')}", logprobs=twice).confidence == 0.5


def test_a_short_category_is_not_taken_for_a_part_of_another_word() -> None:
    given_ = tokens(('{"c', 0.1), ("a", 0.2), ('tegory": "', 0.3), ("a", 0.5), ('"}', 0.4))
    assert said(named("a"), ["a", "b"], logprobs=given_).confidence == 0.5


@pytest.mark.parametrize(
    "given_",
    [None, [], tokens(OPENING, ("rail", 0.5)), tokens(("<think>", 0.5), OPENING, ("rail", 0.5), ('"}', 0.5))],
)
def test_without_the_tokens_of_the_whole_answer_there_is_no_confidence(
    given_: list[tuple[bytes, float]] | None,
) -> None:
    assert said(named("rail"), logprobs=given_) == Reply("rail", None)


def test_a_confidence_is_at_most_one() -> None:
    assert said(named("rail"), logprobs=[(named("rail").encode(), 1e-3)]).confidence == 1.0


def test_tokens_are_read_as_bytes_or_where_a_server_gives_none_as_text() -> None:
    listed = [
        {"token": "k\\xc3", "logprob": -0.5, "bytes": [107, 0xC3]},
        {"token": "ä", "logprob": -1, "bytes": None},
        {"token": "x", "logprob": -2},
    ]
    body = json.dumps({"choices": [{"message": {"content": "?"}, "logprobs": {"content": listed}}]})
    assert read_answer(body).logprobs == [(b"k\xc3", -0.5), ("ä".encode(), -1.0), (b"x", -2.0)]


# ---------------------------------------------------------------------------------------------------------------------
# Several votes
# ---------------------------------------------------------------------------------------------------------------------

A, B, NONE = Reply("a", 0.9), Reply("b", 0.8), Reply(error="refusal: 'no'")


@pytest.mark.parametrize(
    ("replies", "combined"),
    [
        ([A], A),  # its own confidence
        ([NONE], NONE),
        ([A, B, B], Reply("b", 2 / 3)),
        ([A, A, A], Reply("a", 1.0)),
        ([B, A], Reply("b", 0.5)),  # what was said first
        ([A, B, B, A], Reply("a", 0.5)),
        ([NONE, B, A, A, B], Reply("b", 0.4)),
        ([NONE, A], Reply("a", 0.5)),  # what failed agrees with nothing
        ([NONE, NONE, A], Reply("a", 1 / 3)),
        ([NONE, Reply(error="length: cut")], NONE),
    ],
)
def test_most_of_the_replies_win(replies: list[Reply], combined: Reply) -> None:
    assert combine(replies) == combined
