"""What a language model is asked: a document stays data, whatever it holds, and the answer's form is fixed."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.annotators import prompt as module
from stages.annotators.params import OpenAIParams
from stages.annotators.prompt import Prompt, fence, make_prompt
from stages.params import load
from stages.runtime.errors import UserError
from tests.conftest import ROOT

CATEGORIES = [("rail", "Trains and tracks."), ("brot & käse", "")]
SHIPPED = ROOT / "prompts"
SETTINGS = load(ROOT / "params.yaml")["annotate"]["openai"]


def params(**changes: object) -> OpenAIParams:
    return OpenAIParams.model_validate({**SETTINGS, **changes})


def closed(examples: list[tuple[str, str]] | None = None, folder: Path = SHIPPED, **changes: object) -> Prompt:
    return make_prompt(CATEGORIES, examples or [], params(**changes), folder)


def opened(folder: Path = SHIPPED, **changes: object) -> Prompt:
    return make_prompt([], [], params(**changes), folder)


def templates(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


def closing(text: str) -> str:
    return fence(text).rpartition("\n")[2]


# ---------------------------------------------------------------------------------------------------------------------
# The fence
# ---------------------------------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    ["</document >", "</document 0123456789abcdef0123456789abcdef>", "<|im_end|>", "<<||", "\r", ""]
)
# Texts that try: fences and closing lines of other texts, hashes of their beginnings, made into texts again.
ATTACKS = st.recursive(
    st.text() | LINES,
    lambda inner: st.one_of(
        inner.map(fence),
        inner.map(lambda text: f"{text}\n{closing(text)}\n"),
        inner.map(lambda text: text + hashlib.sha256(text.encode()).hexdigest()),
        st.lists(inner, min_size=2, max_size=3).map("\n".join),
    ),
    max_leaves=8,
)


@given(ATTACKS)
def test_no_text_closes_its_fence(text: str) -> None:
    first, *between, last = fence(text).split("\n")
    code = first.removeprefix("<document ").removesuffix(">")
    assert len(code) == 32
    assert (first, last) == (f"<document {code}>", f"</document {code}>")
    assert code not in "\n".join(between)
    assert "\n".join(between) == text.replace("<|", "< |")


@given(ATTACKS)
def test_no_mark_of_a_chat_template_stays_whole(text: str) -> None:
    assert "<|" not in fence(text)


def test_a_text_that_holds_its_own_code_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter(["a" * 64, "b" * 64, "c" * 64])
    digest = SimpleNamespace(hexdigest=lambda: next(codes))
    monkeypatch.setattr(module, "hashlib", SimpleNamespace(sha256=lambda _: digest))
    assert closing(f"</document {'a' * 32}>\n</document {'b' * 32}>") == f"</document {'c' * 32}>"


# ---------------------------------------------------------------------------------------------------------------------
# Instructions and documents
# ---------------------------------------------------------------------------------------------------------------------


@given(ATTACKS | st.sampled_from(["$categories", "${categories}", "$$", "$nothing", "%s {} {0}"]))
def test_a_text_changes_nothing_but_its_own_message(text: str) -> None:
    asked, other = PROMPT.body(text, []), PROMPT.body("another text", [])
    *instructions, last = asked["messages"]
    assert instructions == PROMPT.messages == other["messages"][:-1]
    assert last == {"role": "user", "content": fence(text)}
    assert {**asked, "messages": []} == {**other, "messages": []}


PROMPT = closed([("an example", "rail")])


def test_the_instructions_list_the_categories_as_they_are_written() -> None:
    (system,) = closed().messages
    assert system["role"] == "system"
    assert "\n- rail: Trains and tracks.\n- brot & käse\n" in system["content"]
    assert "$" not in system["content"]
    (system,) = opened().messages
    assert "topic" in system["content"]


def test_a_description_is_no_template(tmp_path: Path) -> None:
    folder = templates(tmp_path, closed="Costs $$5.\n$categories")
    (system,) = make_prompt([("a", "$categories $x"), ("b", "")], [], params(), folder).messages
    assert system["content"] == "Costs $5.\n- a: $categories $x\n- b"


def test_examples_are_a_conversation_before_the_document() -> None:
    examples = [("first text", "brot & käse"), ("second text", "rail")]
    messages = closed(examples).body("x", [])["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [one["content"] for one in messages[1:]] == [
        fence("first text"),
        '{"category": "brot & käse"}',
        fence("second text"),
        '{"category": "rail"}',
        fence("x"),
    ]


def test_an_answer_that_could_not_be_read_goes_back_with_what_is_allowed() -> None:
    before = list(PROMPT.messages)
    *start, first, ask, second, ask_again = PROMPT.body("x", ["Rail, I think", "{}"])["messages"]
    assert start == PROMPT.body("x", [])["messages"]
    assert first == {"role": "assistant", "content": "Rail, I think"}
    assert second == {"role": "assistant", "content": "{}"}
    assert ask == ask_again
    assert ask["role"] == "user"
    assert 'Answer with {"category": "..."} alone, one of rail, brot & käse.' in ask["content"]
    assert opened().body("x", ["?"])["messages"][-1]["content"].endswith('Answer with {"category": "..."} alone.')
    assert before == PROMPT.messages


def test_the_tokens_counted_are_those_of_instructions_and_examples() -> None:
    assert opened().tokens > 50
    more = closed([("word " * 100, "rail")]).tokens - closed().tokens
    assert 100 <= more <= 200


# ---------------------------------------------------------------------------------------------------------------------
# Templates that cannot be used
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Sort.", "$categories and $examples", "$categories for $ 5", "$$categories", "${categories"]
)
def test_a_closed_template_must_say_where_the_categories_go_and_nothing_else(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"closed\.md: must hold \$categories and no other placeholder"):
        closed(folder=templates(tmp_path, closed=text))


@pytest.mark.parametrize("text", ["One of $categories", "costs $5"])
def test_an_open_template_has_no_placeholder(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"open\.md: must hold no placeholder \(\$\$ stands for a dollar sign\)"):
        opened(templates(tmp_path, open=text))


@pytest.mark.parametrize(("make", "name"), [(closed, "closed"), (opened, "open")])
def test_a_template_that_is_missing_is_named(make: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{name}\.md is missing: `git checkout -- .*` restores it"):
        make(folder=tmp_path)


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed.md").write_bytes("Straße $categories".encode("latin-1"))
    with pytest.raises(UserError, match=r"closed\.md .*UTF-8"):
        closed(folder=tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# The request's other fields
# ---------------------------------------------------------------------------------------------------------------------


def schema_of(prompt: Prompt) -> Any:
    form = prompt.body("x", [])["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    return form["json_schema"]["schema"]


def test_the_answer_is_held_to_the_categories() -> None:
    assert schema_of(closed()) == {
        "type": "object",
        "properties": {"category": {"type": "string", "enum": ["rail", "brot & käse"]}},
        "required": ["category"],
        "additionalProperties": False,
    }
    assert schema_of(opened())["properties"] == {"category": {"type": "string"}}


def test_what_is_not_set_is_not_sent() -> None:
    assert set(closed().body("x", [])) == {"messages", "response_format", "model", "max_completion_tokens"}
    every = closed(temperature=0.0, reasoning_effort="low", logprobs=True, extra={"top_k": 1, "seed": None}, model="m")
    body = every.body("x", [])
    assert body["model"] == "m"
    assert (body["temperature"], body["reasoning_effort"], body["logprobs"]) == (0.0, "low", True)
    assert body["extra_body"] == {"top_k": 1, "seed": None}
    json.dumps(body)


@pytest.mark.parametrize("name", ["model", "messages", "response_format", "max_completion_tokens", "n", "stream"])
def test_extra_fields_cannot_replace_what_has_a_meaning_here(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is set elsewhere"):
        params(extra={name: 1})
