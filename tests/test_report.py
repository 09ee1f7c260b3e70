"""The report: what it says, what it leaves out, what it refuses, and that no document's text gets out of its place."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evaluation.tables import tables as evaluation_tables
from stages.files import write_csv
from stages.files import write_json as write_metrics
from stages.reporting.foreign import FORBIDDEN, short, showable
from stages.reporting.metrics import Evaluate, Paired
from stages.reporting.page import render
from stages.reporting.sources import read_sources
from stages.reporting.verdicts import compare, percent, probability, summarise
from stages.runtime.errors import UserError
from stages.suspects.problems import label_problems
from tests.conftest import edit_params, run_stage
from tests.small_report import HOSTILE, evaluation, make_run, tables, write_json, write_rows
from tests.test_evaluate import LABELS, TEST, judged
from tests.test_suspects import answers, out_of_fold

VOID = {"meta", "link", "br"}
BLOCKS = {"p", "li", "td", "th", "dt", "dd", "div", "summary"}


class Page(HTMLParser):
    """What a page holds: its text, its tags, and whether each is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " " if tag in BLOCKS else ""
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def says(self, words: str) -> bool:
        return words in " ".join(self.text.split())


@pytest.fixture
def folder(workspace: Path) -> Path:
    """A workspace in which the six stages have run."""
    make_run(workspace)
    return workspace


def page() -> Page:
    return Page(render(read_sources()))


def test_the_command_writes_the_page_and_says_where(folder: Path) -> None:
    done = run_stage("report", "--output", "out/page.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "out/page.html" in done.stderr
    assert (folder / "out/page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_same_files_give_the_same_bytes(folder: Path) -> None:
    assert render(read_sources()) == render(read_sources())


def test_it_shows_what_a_run_has_left(folder: Path) -> None:
    found = page()
    for words in (
        "reaches a macro F1 of 0.81 (95 % interval 0.74 to 0.88)",
        "It is better than the most frequent class and TF-IDF + logistic regression.",
        "From frozen embeddings + logistic regression this test set cannot tell it apart.",
        "not told apart: the classifier is at +0.02 (−0.05 to +0.09), p = 0.53",  # noqa: RUF001
        "the labels it learned from, against gold 0.90",
        "this classifier, by the labels before overrides.csv (4 others) 0.78",
        "agriculture → taken for climate 5 ×",  # noqa: RUF001
        "temperature of 1.43",
        "expected calibration error 0.11 0.04",
        "20 test documents are given another class than their label; the 12",
        "The text of papers/document-0.",
        "22 (4.1 %) have a label that does not fit what cross-validation makes of the others",
        "The text of papers/train-0.",
        "clinical medicine and public health 14 11 % merge",
        "86 % of 200 documents, Cohen's kappa 0.83",
        "encrypted 2",
        "farming → into agriculture",
        "together 480 60 120",
        "transformers 5.23.0",
        "# The corpus: a folder that holds documents/",
    ):
        assert found.says(words), words
    assert not found.says("Not here:")
    assert found.tags.count("figure") == 7  # scores and six charts


def test_what_evaluate_writes_is_what_the_report_reads(folder: Path) -> None:
    """The fixture is made by hand; here the tables and metrics come from the functions that evaluate calls."""
    curve = [{"share": share, "documents": 40 * share, "macro_f1": 0.7, "low": 0.6, "high": 0.8} for share in (0.25, 1)]
    metrics = judged(
        ["bread", "bread", "rail", "bread"], {"a": "bread", "c": "rail"}, {"b": "rail"}, curve, tfidf=["rail"] * 4
    )
    true = np.arange(40) % 4
    wrong = np.where(np.arange(40) < 6, (true + 1) % 4, true)
    problems, found = label_problems(out_of_fold(wrong, answers(true, 0.9)), "embeddings", [])
    write_metrics(folder / "metrics/evaluate.json", {**metrics, "label_suspects": problems})
    logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], dtype=np.float32)
    for name, table in {**evaluation_tables(TEST, LABELS, logits, 2.0, metrics), **found}.items():
        write_csv(folder / f"metrics/evaluate/{name}.csv", table)
    shown = page()
    assert shown.tags.count("figure") == 7
    assert shown.says("1 test document is given another class than its label.")
    assert shown.says("have a label that does not fit what a regression on frozen embeddings makes of the others")
    assert shown.says("d0000")
    assert shown.text.count("Not here: ") == 1  # the texts of these documents


def test_it_asks_for_nothing_and_runs_nothing(folder: Path) -> None:
    found = page()
    assert {"script", "iframe", "img", "object", "form"}.isdisjoint(found.tags)
    assert all(address.startswith("#") or address == "data:," for address in found.addresses)
    assert "default-src 'none'" in render(read_sources())


GONE = {
    "metrics/evaluate.json": "Not here: scores. To get it: dvc repro",
    "metrics/evaluate/confusion.csv": "Not here: confusion matrix. To get it: dvc repro",
    "metrics/evaluate/reliability.csv": "Not here: reliability",
    "metrics/evaluate/learning_curve.csv": "To get it: dvc exp run -S train.folds=5 -S train.learning_curve=true",
    "metrics/evaluate/errors.csv": "Not here: errors",
    "metrics/evaluate/label_suspects.csv": "Not here: label suspects",
    "metrics/train.json": "Not here: training history",
    "metrics/train/plots": "Not here: training history",
    "metrics/extract.json": "Not here: extracted documents",
    "metrics/annotate.json": "Not here: labels",
    "metrics/split.json": "Not here: split",
    "data/split": "text of some of these documents",
    "data/annotated": "",
    "models": "Not here: versions of packages",
}


@pytest.mark.parametrize("path", GONE)
def test_what_is_not_there_is_left_out_with_the_way_to_get_it(path: str, folder: Path) -> None:
    remove(folder / path)
    assert page().says(GONE[path])


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_before_the_first_run_the_page_says_how_to_start(workspace: Path) -> None:
    found = page()
    assert found.says("Not here: scores. To get it: dvc repro")
    assert found.says("params.yaml, as it is")


def test_a_header_alone_means_none(folder: Path) -> None:
    for name, (header, _) in tables().items():
        write_rows(folder / "metrics" / name, header, [])
    found = page()
    assert found.says("Not one of the test documents.")
    assert found.says("No label is doubted.")
    assert found.says("learning curve, which tells what more documents would be worth")


def test_an_older_run_without_intervals_calibration_gold_is_shown(folder: Path) -> None:
    found = evaluation()
    kept = {name: found[name] for name in ("documents", "baselines", "per_class")}
    plain = {name: value for name, value in found["test"].items() if name != "intervals"}
    write_json(folder / "metrics/evaluate.json", {**kept, "test": plain})
    shown = page()
    assert shown.says("reaches a macro F1 of 0.81; 83 %")
    assert shown.says("labels by people (gold.csv). To get it: python -m stages.review --gold 200")


def test_few_test_documents_are_pointed_out(folder: Path) -> None:
    write_json(folder / "metrics/evaluate.json", {**evaluation(), "documents": {"train": 154, "test": 19}})
    assert page().says("19 test documents are few: each is worth 5.3 % of accuracy")


def test_many_classes_are_listed_instead_of_drawn(folder: Path) -> None:
    rows = [(f"class {n}", f"class {n // 2}") for n in range(40)]
    write_rows(folder / "metrics/evaluate/confusion.csv", ["actual", "predicted"], rows)
    assert page().says("classes are too many for a matrix")


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("metrics/evaluate.json", "{", "metrics/evaluate.json cannot be read"),
        ("metrics/evaluate.json", "[]", "it holds no object"),
        (
            "metrics/evaluate.json",
            '{"documents": {"test": 3}}',
            "metrics/evaluate.json cannot be read (documents.train: Field required",
        ),
        ("metrics/evaluate/errors.csv", "a,b\n1,2\n", "metrics/evaluate/errors.csv cannot be read"),
        ("metrics/evaluate/errors.csv", "", "metrics/evaluate/errors.csv cannot be read"),
        ("metrics/evaluate/coverage.csv", "threshold,coverage,accuracy\nhigh,1,1\n", "coverage.csv cannot be read"),
        ("metrics/evaluate/coverage.csv", "threshold,coverage,accuracy\n0.9,0,\n", "accuracy is empty in a row"),
        ("metrics/train/plots/metrics/train/loss.tsv", "step\tloss\n1\tlow\n", "loss.tsv cannot be read"),
        ("data/split/test.parquet", "no parquet", "data/split/test.parquet cannot be read as parquet"),
        ("dvc.lock", "stages: {", "dvc.lock cannot be read"),
        ("dvc.lock", "stages: [train]", "dvc.lock cannot be read"),
    ],
)
def test_a_broken_file_is_named(path: str, content: str, said: str, folder: Path) -> None:
    (folder / path).write_text(content)
    with pytest.raises(UserError, match=re.escape(said)):
        read_sources()


def test_results_of_other_params_or_of_another_run_are_pointed_out(folder: Path) -> None:
    lock = {
        "stages": {
            "extract": {"deps": [{"path": "data/other/documents"}, {"path": "data/other/metadata.csv"}]},
            "evaluate": {
                "params": {"params.yaml": {"train.lr": 5e-4, "train.epochs": 3, "gone.key": 1}},
                "outs": [
                    {"path": "metrics/evaluate.json", "md5": "0" * 32},
                    {"path": "models/classifier", "md5": "1" * 32},
                ],
            },
        }
    }
    (folder / "dvc.lock").write_text(json.dumps(lock))
    found = page()
    assert found.says("train.lr is 3e-05 in params.yaml; these results are from 0.0005.")
    assert found.says("corpus is data/mine in params.yaml; these results are from data/other.")
    assert found.says("gone.key is None in params.yaml; these results are from 1.")
    assert not found.says("train.epochs is")
    assert found.says("metrics/evaluate.json is not what the last dvc repro left.")
    assert found.says("models/classifier is not what the last dvc repro left.")
    assert found.says("1" * 32)


def test_the_committed_results_are_of_the_committed_params(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import ROOT

    monkeypatch.chdir(ROOT)
    found = read_sources()
    assert found.evaluate is not None
    assert (found.outdated, found.changed) == ([], [])


def test_every_provider_has_a_name(folder: Path) -> None:
    for provider, words in {
        "openai": "a language model (gpt-5-mini)",
        "file": "labels.csv of the corpus",
        "zero_shot": "similarity to the descriptions of the categories",
    }.items():
        edit_params(folder / "params.yaml", {"annotate.provider": provider})
        assert page().says(words)


# ---------------------------------------------------------------------------------------------------------------------
# words for numbers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "p_value", "verdict"),
    [
        (0.01, 0.2, 0.03, "better"),
        (-0.2, -0.01, 0.03, "worse"),
        (-0.1, 0.1, 0.03, "not told apart"),
        (0.0, 0.1, 0.03, "not told apart"),
        (0.04, 0.44, 0.086, "not told apart"),
        (-0.44, -0.04, 0.086, "not told apart"),
    ],
)
def test_a_difference_counts_if_interval_and_p_value_agree(
    low: float, high: float, p_value: float, verdict: str
) -> None:
    assert compare(Paired(macro_f1_difference=0.0, low=low, high=high, p_value=p_value)) == verdict


def test_a_model_that_loses_is_said_to_lose() -> None:
    found = evaluation()
    found["paired"] = {"tfidf": {"macro_f1_difference": -0.2, "low": -0.3, "high": -0.1, "p_value": 0.001}}
    assert "It is worse than TF-IDF + logistic regression." in summarise(Evaluate.model_validate(found))


def test_shares_and_p_values_have_the_digits_they_deserve() -> None:
    assert [percent(share) for share in (0, 0.0044, 0.0995, 0.5, 1)] == ["0 %", "0.4 %", "10 %", "50 %", "100 %"]
    assert [probability(value) for value in (0.0001, 0.004, 0.53)] == ["p < 0.001", "p = 0.004", "p = 0.53"]


# ---------------------------------------------------------------------------------------------------------------------
# text that came with the documents
# ---------------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters()))
def test_what_is_shown_holds_nothing_that_a_page_cannot(text: str) -> None:
    shown = showable(text)
    assert not FORBIDDEN.search(shown)
    assert showable(shown) == shown
    shown.encode()
    assert len(short(text)) <= 80


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert showable(text) == text


def test_a_text_of_one_long_line_is_short_on_one() -> None:
    assert short("a" * 100_000) == "a" * 79 + "…"
    assert short("a  b\nc") == "a b c"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_text(text: str, folder: Path, hostile: Callable[[str], None]) -> None:
    hostile("a" * len(text))
    plain = Counter(page().tags)
    hostile(text)
    found = page()
    assert Counter(found.tags) == plain
    assert found.says(" ".join(showable(text[:60]).split()))


@pytest.fixture
def hostile(folder: Path) -> Callable[[str], None]:
    """Put a text into every place that a corpus fills: texts, ids, classes, categories, annotators."""
    from tests.small_report import make_hostile

    return lambda text: make_hostile(folder, text)
