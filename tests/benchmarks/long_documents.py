"""What `model.long_documents` gives where the telling passage of a long text lies at a random depth.

    python -m tests.benchmarks.long_documents texts.csv --documents 300

The file has the columns `text` and `label`; texts that occur with several labels are left out. Each document is one
of its texts within 2,000 to 5,000 tokens of sentences drawn from the sample corpus, which say nothing about its
class. The three ways are trained as the stage does and asked about the same fifth of the documents; the texts alone,
without what surrounds them, show what could be reached. All other settings are those of params.yaml.
"""

import argparse
import logging
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
from transformers import AutoTokenizer

from stages.backbone.bundled import bundled_folder
from stages.corpus.documents import list_documents
from stages.extraction.workers import read_all
from stages.params import load
from stages.runtime.checker import Experiment, check
from stages.windows import cut
from tests.benchmarks.training import fine_tune, macro_f1, read_texts, with_changes

SHORTEST, LONGEST = 2000, 5000
WAYS = ("truncate", "head_tail", "windows")


def neutral_sentences(params: Experiment) -> list[str]:
    """Return the sentences of the sample corpus."""
    sources = list_documents(Path("data/sample/documents")).sources
    read = read_all([source.file for source in sources], params.extract, params.runtime.worker_count())
    return [sentence for each in read for sentence in re.findall(r"[A-Z][^.\n]{30,300}\.", each.found.body)]


def bury(texts: pl.DataFrame, sentences: list[str], seed: int) -> pl.DataFrame:
    """Surround each of `texts` with neutral sentences, the passage at a random depth."""
    random = np.random.default_rng(seed)
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    sizes = [len(ids) for ids in tokenizer(sentences, add_special_tokens=False, verbose=False)["input_ids"]]
    buried = []
    for text in texts["text"]:
        (own,) = cut([text], tokenizer, 10**6, "truncate")
        missing, around = int(random.integers(SHORTEST, LONGEST)) - own.tokens, []
        while missing > 0:
            place = int(random.integers(len(sentences)))
            around.append(sentences[place])
            missing -= sizes[place]
        depth = int(random.integers(len(around) + 1))
        buried.append(" ".join([*around[:depth], text, *around[depth:]]))
    return texts.with_columns(text=pl.Series(buried))


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-S", action="append", default=[], metavar="KEY=VALUE", help="a key of `train` in params.yaml")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PIPELINE_CACHE", str(Path(".cache").resolve()))
    content = with_changes(load(), arguments.S)
    _, texts = read_texts(arguments.texts)
    texts = texts.sample(arguments.documents, shuffle=True, seed=arguments.seed)
    long = bury(texts, neutral_sentences(check(content)), arguments.seed)
    test, validation = arguments.documents // 5, arguments.documents // 10
    for way in ("texts alone", *WAYS):
        model = {**content["model"], **({"long_documents": way} if way in WAYS else {})}
        documents = long if way in WAYS else texts
        frames = {
            "test": documents[:test],
            "validation": documents[test : test + validation],
            "train": documents[test + validation :],
        }
        answers, _, seconds = fine_tune(frames, check({**content, "model": model}), arguments.seed)
        scores = [macro_f1(frames[side]["label"].to_list(), answers[side]) for side in ("test", "train")]
        print(f"{way:<11} macro F1 {scores[0]:.4f}, train {scores[1]:.4f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
