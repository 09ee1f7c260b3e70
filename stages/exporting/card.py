"""The model card: what the metrics, the params and the model say, for someone who has none of them."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from ruamel.yaml import YAML

from stages.evaluation.names import name_baseline
from stages.inference.classifier import Classifier
from stages.params import Params

Scores = Mapping[str, Any]
TEMPLATE = Path(__file__).with_name("card.md")
TASK = "text-classification"
BUNDLED = {"bundled:all-MiniLM-L6-v2": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0")}
# A language of fewer of the documents, of a hundred, is more likely a mistake than a language of the corpus.
SHARE_OF_A_LANGUAGE = 0.01
SETTINGS = ("model", "train")
READING = {
    "truncate": "the beginning of longer ones",
    "head_tail": "the two ends of longer ones; the lines below read their beginning alone",
    "windows": "longer ones in windows, the surest of which counts most; the lines below read their beginning alone",
}


@dataclass(frozen=True)
class Facts:
    """What the card is made from.

    Args:
        name: the model's name, mostly that of its folder or repository.
        repository: its place on the Hub; None where it has none yet.
        metrics: metrics/*.json by the stage's name; what is missing leaves its lines out.
        params: params.yaml.
        provenance: models/classifier/provenance.json.
        calibrated: whether temperature.json lies beside the model.
        onnx: whether onnx/model.onnx does.
        own: whether transformers does not know the architecture, and its code lies beside the model.
        licence: by the Hub's names (`mit`, `apache-2.0` …); None: not known.
    """

    name: str
    repository: str | None
    metrics: Mapping[str, Scores]
    params: Params
    provenance: Mapping[str, Any]
    calibrated: bool
    onnx: bool
    own: bool
    licence: str | None


def model_card(classifier: Classifier, facts: Facts) -> ModelCard:
    """Return the card of a classifier, its front matter as the Hub reads it.

    The same facts give the same card.
    """
    evaluate = facts.metrics.get("evaluate", {})
    tokenizer = classifier.tokenizer
    card = ModelCard.from_template(
        _front_matter(facts),
        template_str=_whole_lines(TEMPLATE.read_text(encoding="utf-8")),
        name=facts.name,
        labels=classifier.labels,
        backbone=_base_model(facts) or facts.provenance.get("backbone"),
        evaluate=evaluate,
        documents=evaluate.get("documents", {}),
        scores=_rows(evaluate, {}),
        intervals="intervals" in evaluate.get("test", {}),
        paired=[_paired(name, found) for name, found in evaluate.get("paired", {}).items()],
        gold=_rows(evaluate.get("gold", {}), {"labels": "the labels it learned from"}),
        given="labels of the kind it learned from" if "gold" in evaluate else "their labels",
        data=_data(facts),
        limits=_limits(classifier, facts),
        own=facts.own,
        onnx=facts.onnx,
        model_type=classifier.model.config.model_type,
        max_length=tokenizer.model_max_length,
        pad_id=tokenizer.pad_token_id,
        pad_token=tokenizer.pad_token,
        temperature='json.loads((folder / "temperature.json").read_text())["temperature"]  # of the calibration'
        if facts.calibrated
        else "1.0  # the probabilities are not calibrated",
        fetch=_fetch(facts.repository),
        licence=facts.licence,
        settings=_settings(facts),
    )
    return ModelCard(re.sub(r"\n{3,}", "\n\n", str(card)).rstrip() + "\n")


def licence_of(provenance: Mapping[str, Any]) -> str | None:
    """Return the licence of the model that was fine-tuned, if this repository knows it."""
    return BUNDLED.get(str(provenance.get("backbone")), (None, None))[1]


def _base_model(facts: Facts) -> str | None:
    """Return the name on the Hub of the model that was fine-tuned; a folder has none."""
    backbone = facts.provenance.get("backbone")
    if backbone in BUNDLED:
        return BUNDLED[backbone][0]
    return backbone if facts.provenance.get("revision") else None


def _front_matter(facts: Facts) -> ModelCardData:
    test = facts.metrics.get("evaluate", {}).get("test", {})
    names = {"macro_f1": ("f1", "macro F1"), "weighted_f1": ("f1", "weighted F1"), "accuracy": ("accuracy", "accuracy")}
    corpus = Path(str(facts.params["corpus"])).name
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=test[key],
        )
        for key, (kind, name) in names.items()
        if key in test
    ]
    return ModelCardData(
        language=_languages(facts) or None,
        license=facts.licence,
        library_name=None if facts.own else "transformers",
        pipeline_tag=TASK,
        base_model=_base_model(facts),
        tags=[TASK, *(["onnx"] if facts.onnx else [])],
        metrics=["f1", "accuracy"],
        model_name=facts.name,
        eval_results=results or None,
    )


def _languages(facts: Facts) -> list[str]:
    counts = facts.metrics.get("extract", {}).get("languages", {})
    least = SHARE_OF_A_LANGUAGE * sum(counts.values())
    return [language for language, count in counts.items() if language != "unknown" and count >= least]


def _rows(found: Scores, more: Mapping[str, str]) -> list[list[str]]:
    """Return a table of scores: the model, what `more` names, the baselines."""
    if "test" not in found:
        return []
    rows = [("this model", found["test"])]
    rows += [(name, found[key]) for key, name in more.items() if key in found]
    rows += [(name_baseline(key), scores) for key, scores in found.get("baselines", {}).items()]
    return [[name, *(_score(scores, key) for key in ("macro_f1", "weighted_f1", "accuracy"))] for name, scores in rows]


def _score(scores: Scores, key: str) -> str:
    interval = scores.get("intervals", {}).get(key)
    text = f"{scores[key]:.3f}"
    return f"{text} ({interval['low']:.3f} to {interval['high']:.3f})" if interval else text


def _paired(name: str, found: Scores) -> str:
    p_value = "p < 0.001" if found["p_value"] < 0.001 else f"p = {found['p_value']:.3f}"
    return (
        f"Macro F1 against {name_baseline(name)}, on the same documents: {found['macro_f1_difference']:+.3f} "
        f"(95 % interval {found['low']:+.3f} to {found['high']:+.3f}, {p_value})"
    )


def _data(facts: Facts) -> list[str]:
    """Say what the documents are and who gave them their labels."""
    extract, annotate = facts.metrics.get("extract", {}), facts.metrics.get("annotate", {})
    split, merged = facts.metrics.get("split", {}), facts.metrics.get("merge_classes", {})
    lines = []
    if extract:
        tokens, left = extract["tokens"], extract["documents"] - extract["status"]["ok"]
        others = f" ({left} more are copies or could not be read)" if left else ""
        lines.append(
            f"{extract['status']['ok']} documents{others}, median length {tokens['median']:g} tokens, the longest "
            f"{tokens['max']}; they are not published here. Languages: {', '.join(_languages(facts)) or 'not told'}."
        )
    settings = facts.params["annotate"]
    given = {
        "zero_shot": f"a zero-shot annotator ({settings['zero_shot']['model']}): the category whose description is "
        "nearest to the text",
        "openai": f"a language model ({settings['openai']['model']}), asked about each document",
        "file": "whoever made the corpus's labels.csv",
    }
    lines.append(f"The labels are by {given[settings['provider']]}.")
    if "accuracy" in annotate:
        # Undefined where annotator and people know one category alone.
        kappa = "" if annotate["kappa"] is None else f" (Cohen's kappa {annotate['kappa']:.3f})"
        lines.append(
            f"Against labels by people on {annotate['compared_with_gold']} documents, these labels have an accuracy of "
            f"{annotate['accuracy']:.3f}{kappa}."
        )
    checked = merged.get("overrides", {})
    if checked.get("applied"):
        lines.append(f"{checked['applied']} of them were checked by hand, {checked['changed']} of these changed.")
    elif settings["provider"] != "file":
        lines.append("No person has checked them one by one.")
    if split:
        lines.append(
            f"{split['train']} documents for training, {split['validation']} for choosing the epoch, {split['test']} "
            "for the test; copies and near-copies are on one side."
        )
    if merged:
        sizes = ", ".join(f"{label} {count}" for label, count in merged["classes"].items())
        lines.append(f"Documents of each class: {sizes}.")
    return lines


def _limits(classifier: Classifier, facts: Facts) -> list[str]:
    evaluate = facts.metrics.get("evaluate", {})
    how = getattr(classifier.model.config, "long_documents", "truncate")
    lines = [
        "Every text gets one of these classes, also one that belongs to none of them.",
        f"It reads texts up to {classifier.tokenizer.model_max_length} tokens, {READING[how]}.",
    ]
    if languages := _languages(facts):
        lines.append(f"Other languages than {', '.join(languages)} and other kinds of documents were not tested.")
    if columns := facts.params["extract"]["metadata_columns"]:
        lines.append(
            f"Where it was known, the texts of training and test began with their {' and '.join(columns)}, "
            f"as a line `{columns[0]}: …`. A text without has that much less to go by."
        )
    if facts.params["annotate"]["provider"] != "file":
        lines.append(
            "What its annotator got wrong it has learned, too; see the scores against labels by people, if any."
        )
    if test := evaluate.get("documents", {}).get("test"):
        lines.append(f"{test} test documents: one more error costs {100 / test:.2g} points of accuracy.")
    return lines


def _fetch(repository: str | None) -> str:
    if repository is None:
        return '\nfolder = Path(".")  # where these files are'
    return f'from huggingface_hub import snapshot_download\n\nfolder = Path(snapshot_download("{repository}"))'


def _settings(facts: Facts) -> str:
    buffer = io.StringIO()
    shown = {section: dict(facts.params[section]) for section in SETTINGS}
    shown["model"]["name"] = facts.provenance.get("backbone")  # never where it lies
    YAML().dump(shown, buffer)
    return buffer.getvalue().rstrip()


def _whole_lines(template: str) -> str:
    """Let lines of a template that hold nothing but a statement leave no line."""
    return re.sub(r"^(\{%(?:(?!%\}).)*%\})\n", r"\1", template, flags=re.MULTILINE)
