"""The corpus that ships with the repository."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.conftest import CORPUS_CSVS, ROOT

SAMPLE = ROOT / "data/sample"


def test_the_pdfs_and_csvs_are_what_the_sources_render_to() -> None:
    done = subprocess.run(
        [sys.executable, SAMPLE / "render.py", "--check"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_as_large_and_varied_as_promised() -> None:
    gold = pl.read_csv(SAMPLE / "gold.csv")
    per_category = gold["category"].value_counts()["count"]
    assert len(gold) >= 160
    assert len(per_category) >= 8
    assert per_category.min() >= 15  # type: ignore[operator]
    bodies = [file.read_text(encoding="utf-8").split("---", 2)[2] for file in (SAMPLE / "sources").glob("*.md")]
    assert all(150 <= len(body.split()) <= 400 for body in bodies)
    sentences = [line.strip() for body in bodies for line in body.replace("\n", " ").split(". ") if len(line) > 40]
    assert len(sentences) == len(set(sentences))


def test_labels_equal_gold_and_every_category_is_described() -> None:
    assert (SAMPLE / "labels.csv").read_bytes() == (SAMPLE / "gold.csv").read_bytes()
    categories = pl.read_csv(SAMPLE / "categories.csv")
    assert set(categories["category"]) == set(pl.read_csv(SAMPLE / "gold.csv")["category"])
    assert categories["description"].str.len_chars().min() > 50  # type: ignore[operator]


def test_the_template_has_every_file_a_corpus_needs() -> None:
    template = ROOT / "data/template"
    assert {file.name for file in template.glob("*.csv")} == set(CORPUS_CSVS)
    for name, header in CORPUS_CSVS.items():
        first, *rest = (template / name).read_text(encoding="utf-8").splitlines()
        assert set(header.split(",")) <= set(first.split(","))
        assert rest == []
    assert (template / "documents").is_dir()


def test_documents_are_named_once_in_each_table() -> None:
    names = sorted(file.stem for file in (SAMPLE / "documents").glob("*.pdf"))
    for table in ("gold.csv", "labels.csv", "metadata.csv"):
        assert pl.read_csv(SAMPLE / table)["document_id"].to_list() == names, table
    assert names == sorted(Path(file).stem for file in (SAMPLE / "sources").glob("*.md"))
