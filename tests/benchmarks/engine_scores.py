"""Does the engine that reads a PDF change what a classifier makes of it?

    python -m tests.benchmarks.engine_scores texts.csv      # texts made PDFs of two columns; columns `text`, `label`
    python -m tests.benchmarks.engine_scores data/sample    # a corpus: its documents, by the labels in gold.csv

Each engine reads the same PDFs. Two classifiers, TF-IDF and frozen embeddings, each with a logistic regression, answer
by 5-fold cross-validation with the same folds for every engine. Differences are paired, with 95 % bootstrap intervals.
"""

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
import polars as pl
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tqdm import tqdm

from stages.backbone.resolve import locate
from stages.embeddings import Embedder
from stages.evaluation.baselines import tfidf
from stages.evaluation.params import TfidfParams
from stages.extraction.params import ExtractParams
from stages.extraction.text import compose
from stages.extraction.workers import read_all
from tests.benchmarks.paired import difference
from tests.conftest import ROOT

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=10, leading=12, alignment=4)
HEAD = ParagraphStyle("head", parent=BODY, fontName="Times-Bold", fontSize=15, leading=18, spaceAfter=8)


def render(file: Path, text: str) -> None:
    """Write a text as a page of a journal: its first sentence the title, two columns, a running head and a foot."""

    def edges(canvas: Canvas, _: object) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(60, A4[1] - 40, "Annals of Benchmarks, volume 12")
        canvas.drawCentredString(A4[0] / 2, 30, str(canvas.getPageNumber()))

    columns = [Frame(left, 60, 225, A4[1] - 120) for left in (55, 300)]
    document = BaseDocTemplate(str(file), pagesize=A4, invariant=1)
    document.addPageTemplates(PageTemplate(frames=columns, onPage=edges))
    title, _, body = text.partition(". ")
    document.build([Paragraph(escape(title), HEAD), Paragraph(escape(body), BODY)])


def read(files: list[Path], engine: Literal["layout", "fast"]) -> list[str]:
    """Return what the model would read of each file."""
    params = ExtractParams(
        engine=engine,
        ocr=False,
        max_tokens=5000,
        drop_references=False,
        metadata_columns=[],
        timeout_s=120,
        memory_mb=4096,
    )
    start = time.perf_counter()
    found = [each.found for each in tqdm(read_all(files, params, os.cpu_count() or 1), total=len(files), desc=engine)]
    print(f"{engine}: {len(files)} documents in {time.perf_counter() - start:.0f} s", flush=True)
    return [compose(each.title, {}, each.body) for each in found]


def answers(texts: list[str], labels: list[str]) -> dict[str, list[str]]:
    """Return each classifier's out-of-fold answers."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    embedder = Embedder(locate("bundled:all-MiniLM-L6-v2", "main"), 256, "cpu")
    vectors = np.stack([embedder.embed(text) for text in tqdm(texts, desc="embeddings")])
    regression = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
    unfitted = tfidf(["a word", "another"], ["a", "b"], TfidfParams(ngrams=2, C=1.0))
    return {
        "tfidf": cross_val_predict(unfitted, texts, labels, cv=folds).tolist(),
        "embeddings": cross_val_predict(regression, vectors, labels, cv=folds).tolist(),
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="CSV|CORPUS")
    parser.add_argument("--documents", type=int, help="the first so many; default: all")
    arguments = parser.parse_args()
    source: Path = arguments.source.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        texts: dict[str, list[str]] = {}
        if source.is_dir():
            table = pl.read_csv(source / "gold.csv", infer_schema=False).rename({"category": "label"})
            table = table.head(arguments.documents or len(table))
            of_id = {file.relative_to(source / "documents").with_suffix("").as_posix(): file
                     for file in (source / "documents").rglob("*.pdf")}  # fmt: skip
            table = table.filter(pl.col("document_id").is_in(list(of_id)))
            files = [of_id[name] for name in table["document_id"]]
        else:
            table = pl.read_csv(source, infer_schema=False).with_row_index("document_id")
            table = table.filter(pl.col("label").n_unique().over("text") == 1).unique("text", maintain_order=True)
            table = table.head(arguments.documents or len(table))
            files = [Path(scratch) / f"{number}.pdf" for number in table["document_id"]]
            for file, text in zip(files, table["text"], strict=True):
                render(file, text)
            texts["as given"] = table["text"].to_list()
        os.chdir(ROOT)
        texts["layout"], texts["fast"] = read(files, "layout"), read(files, "fast")
        labels = table["label"].to_list()
        columns = {
            f"{classifier} {way}": given
            for way, read_texts in texts.items()
            for classifier, given in answers(read_texts, labels).items()
        }
        all_answers = table.select("document_id", "label").with_columns(
            pl.Series(name, given) for name, given in columns.items()
        )
        for classifier, (one, other) in itertools.product(("tfidf", "embeddings"), itertools.combinations(texts, 2)):
            print(f"macro F1, {classifier}, {one} - {other}:", end=" ")
            print(difference(all_answers, f"{classifier} {one}", f"{classifier} {other}"), flush=True)


if __name__ == "__main__":
    main()
