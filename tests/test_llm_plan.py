"""Before and after asking a language model: what it would send and cost, and how two annotators differ."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.corpus.tables import ANNOTATIONS, read_table
from tests.chat_server import ChatServer
from tests.small_asking import Ended, Place, Runner, texts

pytestmark = pytest.mark.xdist_group("llm_plan")  # one server for all


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


# ---------------------------------------------------------------------------------------------------------------------
# --plan
# ---------------------------------------------------------------------------------------------------------------------


def numbers(ended: Ended, line: str) -> list[float]:
    """Return the numbers in a line of the plan."""
    assert ended.code == 0, ended.said
    (found,) = [row for row in ended.printed.splitlines() if row.startswith(line)]
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", found)]


def test_a_plan_counts_what_is_new_and_sends_nothing(
    place: Place, annotate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.set_up(texts(4))
    annotate()
    place.write(texts(10))
    place.set("runtime", price_input_usd=1e6, price_output_usd=1e6, max_cost_usd=7.0)
    monkeypatch.delenv("OPENAI_API_KEY")
    before = place.outputs()
    plan = annotate("--plan")
    assert plan.sent == 0
    assert plan.printed.startswith(f"10 documents, 1 times each; gpt-test at {place.server.base_url}\n")
    assert numbers(plan, "in the store") == [4]
    assert numbers(plan, "to ask for") == [6]
    (tokens_in,) = numbers(plan, "tokens in")
    assert 6 * 100 < tokens_in < 6 * 300
    likely_out, most_out = numbers(plan, "tokens out")
    assert 6 * 5 <= likely_out <= 6 * 10
    assert most_out == 6 * 2000
    assert numbers(plan, "cost") == [tokens_in + likely_out, tokens_in + most_out]  # a dollar a token
    assert "the cap of a run is $7: runtime.max_cost_usd" in plan.printed
    assert place.outputs() == before


def test_a_plan_knows_votes_samples_and_what_is_read(place: Place, annotate: Runner) -> None:
    place.set_up({f"d{number}": "word " * 1000 + str(number) for number in range(6)})
    place.set(sample=4)
    place.set("openai", votes=3)
    whole = annotate("--plan")
    assert numbers(whole, "to ask for") == [12]
    assert numbers(whole, "tokens out") == [12 * 2000]
    # Beyond ten words all are equal: the same question is asked once for each vote.
    place.set(max_tokens=10)
    cut = annotate("--plan")
    assert numbers(cut, "to ask for") == [3]
    place.set(sample=0)
    assert annotate().sent == 3
    assert numbers(annotate("--plan"), "to ask for") == [0]


def test_a_plan_is_for_what_costs_money(place: Place, annotate: Runner) -> None:
    place.set_up(texts(2))
    place.set(provider="file")
    ended = annotate("--plan")
    assert (ended.code, ended.error) == (1, "--plan: annotate.provider is file, which costs nothing; set openai")


# ---------------------------------------------------------------------------------------------------------------------
# --compare
# ---------------------------------------------------------------------------------------------------------------------


def table(name: str, *rows: str) -> str:
    Path(name).write_text("\n".join(["document_id,category", *rows]) + "\n", encoding="utf-8")
    return name


def test_two_tables_are_compared_by_kappa_and_where_they_differ(place: Place, annotate: Runner) -> None:
    """3 of 4 agree; by chance 0.75 * 0.5 + 0.25 * 0.5 = 0.5 would: (0.75 - 0.5) / (1 - 0.5) = 0.5."""
    place.set_up({})
    people = table("people.csv", "d1,Rail", "d2,bees", "d3,rail", "d4,rail", "d5,rail")
    model = table("model.csv", "d4,bees", "d3, RAIL ", "d2,bees", "d1,rail", "d6,rail")
    ended = annotate("--compare", people, model)
    assert (ended.code, ended.sent) == (0, 0)
    assert ended.printed.splitlines() == [
        "4 documents have a category in both (people.csv: 5, model.csv: 5)",
        "the same in 3 (75.0%), Cohen's kappa 0.500",
        "",
        "documents  people.csv  model.csv",
        "1          rail        bees",
        "",
        "document  people.csv  model.csv",
        "d4        rail        bees",
    ]
    assert annotate("--compare", people, people).printed.splitlines() == [
        "5 documents have a category in both (people.csv: 5, people.csv: 5)",
        "the same in 5 (100.0%), Cohen's kappa 1.000",
    ]


def test_the_output_of_a_run_is_such_a_table(place: Place, annotate: Runner) -> None:
    place.set_up({**texts(4), "x": "fault: refusal"})
    place.set(max_failed=0.5)
    annotate()
    people = table("people.csv", "d000,rail", "d001,bread", "d003,bees", "x,bees")
    read_table(ANNOTATIONS).write_csv("annotations.csv")  # the failed one with an empty cell
    for written in ("data/annotated/annotations.parquet", "annotations.csv"):
        printed = annotate("--compare", people, written).printed
        assert printed.startswith("3 documents have a category in both (people.csv: 4, ")
        assert "the same in 2 (66.7%)" in printed


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("lost.csv", "lost.csv is missing: "),
        ("other.csv", "other.csv: column 'document_id' is missing: "),
        ("text.parquet", "--compare: text.parquet is no table with document_id and category: "),
        ("far.csv", "--compare: people.csv and far.csv have no document in common"),
        ("a-branch", "--compare: 'a-branch' is no .csv or .parquet file, and no revision whose "),
    ],
)
def test_what_cannot_be_compared_is_named(name: str, error: str, place: Place, annotate: Runner) -> None:
    place.set_up({})
    Path("other.csv").write_text("id,label\nd1,rail\n")
    Path("text.parquet").write_text("no parquet")
    table("far.csv", "e1,rail")
    ended = annotate("--compare", table("people.csv", "d1,rail"), name)
    assert ended.code == 1
    assert ended.error.startswith(error)
