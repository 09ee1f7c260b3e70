"""Make a folder of the trained model that others can use without this repository, and put it on the Hub if asked."""

import argparse
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.corpus.tables import SPLIT, read_table
from stages.exporting.card import Facts, licence_of, model_card
from stages.exporting.hub import check_push, push
from stages.exporting.onnx_file import write_onnx
from stages.inference.classifier import Classifier, load_classifier
from stages.params import Params, load
from stages.reporting.lock import find_changed, find_outdated, read_lock
from stages.reporting.sources import read_json
from stages.runtime.command import run
from stages.runtime.errors import UserError

log = logging.getLogger(__name__)

MODEL = Path("models/classifier")
METRICS = Path("metrics")
CODE = Path(__file__).with_name("neobert")
LICENCE = Path(__file__).parent.parent / "LICENSE"
# What an export writes: of a folder that holds anything else, nothing is overwritten.
OURS = (
    *("README.md", "config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    *("provenance.json", "temperature.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "chat_template.jinja"),
    *("onnx/model.onnx", "neobert/*.py", "neobert/LICENSE"),
)
# Texts that the ONNX file and the model are asked about.
TEXTS = 8


def read_metrics(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the metrics of each stage by its name; those that are missing are named and left out."""
    found = {}
    for stage in ("extract", "annotate", "merge_classes", "split", "train", "evaluate"):
        file = folder / f"{stage}.json"
        if (content := read_json(file)) is not None:
            found[stage] = content
        else:
            log.warning("%s is missing: the card says nothing of it", file)
    return found


def is_own(classifier: Classifier) -> bool:
    """Say whether the model's code is this repository's, so that transformers alone cannot load it."""
    return not type(classifier.model).__module__.startswith("transformers.")


def copy_code(source: Path, target: Path) -> None:
    """Copy a room of this repository's so that it can be imported by its own name, with the licence."""
    target.mkdir(parents=True)
    for file in sorted(source.glob("*.py")):
        code = file.read_text(encoding="utf-8")
        (target / file.name).write_text(code.replace(f"stages.{source.name}", target.name), encoding="utf-8")
    shutil.copyfile(LICENCE, target / "LICENSE")


def export(model: Path, folder: Path, onnx: bool, repository: str | None, licence: str | None) -> None:
    """Write the model's files, its card, and if asked or needed ONNX and code, into `folder`, whole or not at all.

    Raises:
        UserError: if there is no model, it is not of params.yaml and metrics/, `folder` holds other files, or the model
            cannot be exported as ONNX.
    """
    check_target(folder, model)
    params = load()
    check_current(params, model)
    classifier = load_classifier(model, "cpu")
    own = is_own(classifier)
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for file in sorted(path for path in model.iterdir() if path.is_file()):
            shutil.copyfile(file, partial / file.name)
        if onnx or own:
            texts = read_table(SPLIT / "test.parquet")["text"].head(TEXTS).to_list()
            difference = write_onnx(classifier, texts, partial / "onnx" / "model.onnx")
            log.info("export: the ONNX file's logits differ from the model's by at most %.0e", difference)
        if own:
            copy_code(CODE, partial / CODE.name)
        provenance = read_json(model / "provenance.json") or {}
        facts = Facts(
            name=repository.rpartition("/")[2] if repository else f"{Path(params['corpus']).name}-classifier",
            repository=repository,
            metrics=read_metrics(METRICS),
            params=params,
            provenance=provenance,
            calibrated=(model / "temperature.json").is_file(),
            onnx=onnx or own,
            own=own,
            licence=licence or licence_of(provenance),
        )
        if facts.licence is None:
            log.warning("export: the card names no licence: --licence says which")
        (partial / "README.md").write_text(str(model_card(classifier, facts)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_current(params: Params, model: Path) -> None:
    """Raise a UserError if params, metrics or model are not of one run: the card would say what is not so."""
    lock = read_lock()
    if changed := find_changed(lock, METRICS, model):
        raise UserError(
            f"{changed[0]} is not what dvc.lock notes; the card would speak of another run: `git checkout -- dvc.lock "
            "metrics && dvc checkout` goes back to the committed one, `dvc repro` makes a new one"
        )
    for key, used, now in find_outdated(lock, params):
        raise UserError(
            f"{key} is {now} in params.yaml, the last `dvc repro` was with {used}; the card would tell the wrong one: "
            "`dvc repro`, or put it back"
        )


def check_target(folder: Path, model: Path) -> None:
    """Raise a UserError if `folder` is the model's own or a file, or holds files that no export wrote."""
    if folder.resolve() == model.resolve():
        raise UserError(f"--output {folder}: is the folder of the model itself: name another")
    if folder.is_symlink():
        raise UserError(f"--output {folder}: is a link: name the folder it leads to")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file: name a folder")
    others = [path for path in folder.rglob("*") if path.is_file() and not is_ours(path.relative_to(folder))]
    if others or (folder.is_dir() and any(folder.iterdir()) and not (folder / "provenance.json").is_file()):
        raise UserError(f"--output {folder}: holds files that are no export: name another folder, or empty it")


def is_ours(path: Path) -> bool:
    """Say whether an export may have written the file `path` (relative to its folder)."""
    return any(path.match(pattern) and len(path.parts) == pattern.count("/") + 1 for pattern in OURS)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.export", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("export"), metavar="FOLDER", help="default: export")
    parser.add_argument("--onnx", action="store_true", help="also as ONNX; a NeoBERT always is")
    parser.add_argument("--licence", metavar="NAME", help="of the weights, as the Hub calls it: mit, apache-2.0 …")
    parser.add_argument("--push", metavar="REPO", help="upload to this model repository of the Hub (owner/name)")
    parser.add_argument("--public", action="store_true", help="with --push: let everybody see a new repository")
    arguments = parser.parse_args()
    if arguments.public and not arguments.push:
        parser.error("--public: says who may see what --push uploads")
    return arguments


def main() -> None:
    """Export models/classifier; push it if asked."""
    arguments = parse_arguments()
    if arguments.push:
        check_push(arguments.push)
    export(MODEL, arguments.output, arguments.onnx, arguments.push, arguments.licence)
    log.info("export: %s is complete", arguments.output)
    if arguments.push:
        log.info("export: uploaded: %s", push(arguments.output, arguments.push, arguments.public, is_ours))


if __name__ == "__main__":
    run(main, own_arguments=True)
