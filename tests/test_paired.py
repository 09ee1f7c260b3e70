"""Two ways compared over several runs: what the benchmarks print."""

import polars as pl

from tests.benchmarks.paired import difference, mean_difference


def run(steady: list[str], fickle: list[str]) -> pl.DataFrame:
    label = ["a", "b"] * 4
    return pl.DataFrame({"document_id": range(8), "label": label, "steady": steady * 4, "fickle": fickle * 4})


def test_the_mean_of_runs_is_what_one_run_may_expect() -> None:
    runs = [run(["a", "b"], ["a", "a"]), run(["a", "b"], ["a", "b"])]
    # All answers a: F1 of a is 2/3, of b 0.
    assert mean_difference(runs, "steady", "fickle").startswith("1.0000 - 0.6667 = +0.3333 (")
    # 4 of 16 are wrong: F1 of a is 0.8, of b 2/3.
    assert difference(pl.concat(runs), "steady", "fickle").startswith("1.0000 - 0.7333 = +0.2667 (")


def test_a_document_is_drawn_with_its_answers_in_all_runs() -> None:
    one = run(["a", "b"], ["b", "b"])
    interval = mean_difference([one], "steady", "fickle").partition(" (")[2].partition(";")[0]
    # Were runs drawn apart, more of them would make the interval narrower.
    assert interval in mean_difference([one] * 20, "steady", "fickle")
