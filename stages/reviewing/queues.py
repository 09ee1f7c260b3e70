"""What there is to review: the labels that are doubted, or a sample to label blind."""

import logging
from pathlib import Path

import polars as pl

from stages.annotators.sampling import shuffled
from stages.classes.merging import spell
from stages.classes.names import normal
from stages.corpus.csvs import read_csv, read_rows, some
from stages.corpus.duplicates import groups_of, with_duplicates
from stages.corpus.tables import ANNOTATIONS, DOCUMENTS, LABELS, read_table, scan_table
from stages.reviewing.session import Item
from stages.runtime.errors import UserError

log = logging.getLogger(__name__)

SUSPECTS = Path("metrics/evaluate/label_suspects.csv")
LEAST_CONFIDENT = Path("metrics/evaluate/least_confident.csv")


def doubted_items() -> list[Item]:
    """Return the label suspects, most doubtful first, then the documents that the model is least sure about.

    Documents of another run, whose label is another by now, are left out with a warning.

    Raises:
        UserError: if there is no run to review.
    """
    suspects = _read(SUSPECTS, ("document_id", "given", "suggested", "confidence"))
    unsure = _read(LEAST_CONFIDENT, ("document_id", "given", "predicted", "probability"))
    rows = [(*row, True) for row in suspects.iter_rows()] + [(*row, False) for row in unsure.iter_rows()]
    label_of = dict(read_table(LABELS).select("document_id", "label").iter_rows())
    if stale := [row[0] for row in rows if label_of.get(row[0]) != row[1]]:
        log.warning("review: left out, as their labels are others by now (`dvc repro` looks anew): %s", some(stale))
    texts = _texts([row[0] for row in rows])
    return [
        Item(document, *texts[document], given, suggested, float(confidence), suspect)
        for document, given, suggested, confidence, suspect in rows
        if document in texts and label_of.get(document) == given
    ]


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is missing: `dvc repro` makes it, `git checkout -- metrics` restores it")
    return read_rows(path, columns, columns).select(columns)


def classes_in_use(corpus: Path) -> dict[str, str]:
    """Return the classes of the labels, by name, each with the description of the category of that name, or ""."""
    described = {normal(name): text for name, text in _described(corpus).items()}
    names = sorted(set(read_table(LABELS)["label"]), key=lambda name: (normal(name), name))
    return {name: described.get(normal(name), "") for name in names}


def blind_items(corpus: Path, size: int, seed: int) -> list[Item]:
    """Draw `size` documents with text (all, if there are fewer) to be labelled by nothing but their text.

    They are the first of the seeded order that `annotate.sample` draws from, in that order: the annotator is asked
    about them, too, a larger sample holds the smaller one, and who stops half way has labelled a random sample.
    Left out are duplicates, and what a language model is shown as an example (its answer there says nothing).

    Args:
        seed: annotate.seed.

    Raises:
        UserError: if there is no document to label.
    """
    documents = scan_table(DOCUMENTS)
    shown = with_duplicates(set(read_csv(corpus, "examples.csv")["document_id"]), groups_of(documents))
    readable = documents.filter(pl.col("status") == "ok").select("document_id").collect()["document_id"].to_list()
    drawn = shuffled([name for name in readable if name not in shown], seed)[:size]
    if not drawn:
        raise UserError(f"{DOCUMENTS}: no document in it has text to label: see metrics/extract.json")
    return [Item(document, *read) for document, read in _texts(drawn).items()]


def categories_to_give(corpus: Path) -> dict[str, str]:
    """Return the categories of categories.csv in its order, with their descriptions; without any, those annotated.

    The latter have no descriptions; the commonest come first.

    Raises:
        UserError: if there are neither.
    """
    if listed := _described(corpus):
        return listed
    if not ANNOTATIONS.is_file():
        raise UserError(
            f"{corpus / 'categories.csv'} names no categories to give: list them there, or `dvc repro annotate`"
        )
    given = read_table(ANNOTATIONS).filter(pl.col("status") == "ok")["category"].to_list()
    spelling = spell(given)
    count = pl.Series([normal(name) for name in given], dtype=pl.String).value_counts().rows()
    ordered = sorted(count, key=lambda row: (-row[1], row[0]))
    return {spelling[name]: "" for name, _ in ordered}


def _described(corpus: Path) -> dict[str, str]:
    return dict(read_csv(corpus, "categories.csv").select("category", "description").iter_rows())


def _texts(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return title and text (without the title) of the named documents, in the order of the names."""
    wanted = pl.col("document_id").is_in(pl.Series(names, dtype=pl.String).implode())
    rows = scan_table(DOCUMENTS).select("document_id", "title", "text").filter(wanted).collect()
    found = {name: (title or name, text.removeprefix(title or "").strip()) for name, title, text in rows.iter_rows()}
    return {name: found[name] for name in names if name in found}
