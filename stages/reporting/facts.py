"""Single facts for the report, as pairs of a name and a value in words."""

from stages.reporting.charts import number
from stages.reporting.sources import Sources
from stages.reporting.verdicts import percent, score

Facts = list[tuple[str, str]]

ANNOTATORS = {
    "zero_shot": "similarity to the descriptions of the categories",
    "openai": "a language model",
    "file": "labels.csv of the corpus",
}


def about_training(sources: Sources) -> Facts:
    """Return what metrics/train.json says."""
    found = sources.train
    if found is None:
        return []
    facts = [
        ("best epoch", number(found.best_epoch) + (" (the start)" if found.best_epoch == 0 else "")),
        ("steps", number(found.steps)),
        ("documents to learn from", number(found.documents.train)),
        ("documents to choose the epoch by", number(found.documents.validation)),
    ]
    if {"trainable", "total"} <= found.parameters.keys():
        trained = found.parameters["trainable"] / found.parameters["total"]
        facts.append(("weights", f"{number(found.parameters['total'])}, {percent(trained)} of them trained"))
    if cut := found.cut_off:
        facts.append(("not read", f"{percent(cut.tokens)} of the tokens, in {percent(cut.documents)} of the documents"))
    if crossed := found.cross_validation:
        spread = f"{score(crossed.macro_f1.mean)} ± {score(crossed.macro_f1.std)} (standard deviation)"
        facts.append((f"macro F1 over {crossed.folds} folds", spread))
    if sources.evaluate and sources.evaluate.train_test_gap is not None:
        facts.append(("macro F1 on training minus test documents", score(sources.evaluate.train_test_gap)))
    return facts


def about_data(sources: Sources) -> Facts:
    """Return what extract, annotate, merge_classes and split say."""
    facts = [("corpus", str(sources.params["corpus"]))]
    if extract := sources.extract:
        facts.append(("pages", f"{number(extract.pages_read)} read of {number(extract.pages)}"))
        if extract.languages:
            ranked = sorted(extract.languages.items(), key=lambda item: (-item[1], item[0]))
            facts.append(("languages", ", ".join(f"{name} {number(count)}" for name, count in ranked[:6])))
        if "median" in extract.tokens:
            facts.append(("tokens of a document", f"median {number(extract.tokens['median'])}"))
    facts += _about_labels(sources)
    if merged := sources.merge_classes:
        facts.append(("categories to classes", f"{len(merged.categories)} to {len(merged.classes)}"))
        corrected = merged.overrides
        facts.append(
            ("corrected by hand", f"{number(corrected.applied)}, of which {number(corrected.changed)} changed")
        )
        if merged.contradicting_duplicates:
            left_out = sum(map(len, merged.contradicting_duplicates))
            facts.append(("left out: duplicates under different labels", number(left_out)))
    if split := sources.split:
        facts.append(("test documents with a gold label", f"{number(split.gold_in_test)} of {number(split.test)}"))
    return facts


def _about_labels(sources: Sources) -> Facts:
    provider = sources.params["annotate"]["provider"]
    model = sources.params["annotate"][provider].get("model")
    facts = [("labelled by", ANNOTATORS[provider] + (f" ({model})" if model else ""))]
    if len(sources.annotators) > 1:
        facts.append(("annotators", ", ".join(f"{name} {number(count)}" for name, count in sources.annotators.items())))
    if found := sources.annotate:
        failed = ", ".join(f"{reason} {number(count)}" for reason, count in found.failed_by.items())
        facts.append(("labelled", f"{number(found.annotated)} of {number(found.documents)}"))
        facts.append(("failed", number(found.failed) + (f" ({failed})" if failed else "")))
        if found.accuracy is not None:
            kappa = "" if found.kappa is None else f", Cohen's kappa {score(found.kappa)}"
            agreed = f"{percent(found.accuracy)} of {number(found.compared_with_gold)} documents{kappa}"
            facts.append(("labels that agree with gold", agreed))
    return facts


def about_origin(sources: Sources) -> Facts:
    """Return what provenance.json says of the encoder."""
    found = sources.provenance
    if found is None:
        return []
    facts = [("encoder", str(found.get("backbone"))), ("Python", str(found.get("python")))]
    if found.get("revision"):
        facts.append(("revision", str(found["revision"])))
    return facts + [(f"sha256 of {name}", str(digest)) for name, digest in (found.get("backbone_sha256") or {}).items()]


def about_packages(sources: Sources) -> Facts:
    """Return the packages the model was made with, and their versions."""
    found = sources.provenance or {}
    return [(name, str(version)) for name, version in (found.get("packages") or {}).items()]
