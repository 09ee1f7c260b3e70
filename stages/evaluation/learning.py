"""What more labels would bring: scores by how many documents were learned from."""

from collections.abc import Sequence

import polars as pl

from stages.evaluation.intervals import intervals, resample
from stages.evaluation.params import EvaluateParams
from stages.files import Metrics
from stages.params.seeds import derive


def learning_curve(
    predictions: pl.DataFrame, documents: pl.DataFrame, labels: Sequence[str], params: EvaluateParams
) -> list[Metrics]:
    """Score the predictions of cross-validation for each share of the documents that was learned from.

    The interval says how macro F1 varies with the documents that are predicted, not with those learned from.

    Args:
        predictions: the table `learning_curve.parquet`; each share predicts the same documents.
        documents: `document_id`, `group` (of duplicates) of these.
        labels: the classes the model knows.

    Returns:
        `share`, `documents` (learned from, the mean of the folds), `macro_f1` of all predictions together, `low` and
        `high` of its 95 % interval; smallest share first. No predictions, no curve.
    """
    group = dict(documents.select("document_id", "group").iter_rows())
    seed = derive(params.seed, "learning curve")
    curve = []
    for share in sorted(set(predictions["share"])):
        part = predictions.filter(share=share)
        groups = [group[document] for document in part["document_id"]]
        answers = {"model": part["predicted"].to_list()}
        found = resample(part["label"].to_list(), answers, labels, groups, params.resamples, seed)["model"]
        learned_from = part.unique("fold")["documents"].to_list()
        curve.append(
            {
                "share": share,
                "documents": round(sum(learned_from) / len(learned_from)),
                "macro_f1": round(found.macro_f1, 4),
                **intervals(found)["macro_f1"],
            }
        )
    return curve
