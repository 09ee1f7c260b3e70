"""params.yaml against its schema, dvc.yaml against the code: what is listed is read, what is read is listed."""

import ast
import copy
import datetime
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from stages.params import load, read_corpus, read_section
from stages.params.seeds import derive, rank
from stages.runtime.checker import Experiment, check
from stages.runtime.errors import UserError
from stages.training.params import TrainParams
from tests.closure import closure, imported
from tests.conftest import ROOT, edit_params, run_stage

PARAMS_TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
FILES = sorted((ROOT / "stages").rglob("*.py"))


def fields(schema: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key of a schema, sections included, with its type."""
    for name, field in schema.model_fields.items():
        yield f"{at}{name}", field.annotation
        if is_section(field.annotation):
            yield from fields(field.annotation, f"{at}{name}.")


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


FIELDS = dict(fields(Experiment))
LEAVES = [key for key, kind in FIELDS.items() if not is_section(kind)]
SECTIONS = [key for key, kind in FIELDS.items() if is_section(kind)]
CHOICES = {key: get_args(kind) for key, kind in FIELDS.items() if get_origin(kind) is Literal}


def changed(key: str, *value: object) -> dict[str, Any]:
    """Return the repository's params with `key` set to `value`, or taken out where there is none."""
    params: Any = copy.deepcopy(load(ROOT / "params.yaml"))
    *sections, last = key.split(".")
    place = params
    for section in sections:
        place = place[section]
    if value:
        place[last] = value[0]
    else:
        del place[last]
    return dict(params)


def complaint(params: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check(params)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# params.yaml and its schema
# ---------------------------------------------------------------------------------------------------------------------


def keys_of_the_file() -> dict[str, int]:
    """Return each dotted key of params.yaml, sections included, and its line (from 0)."""
    found: dict[str, int] = {}

    def collect(mapping: Any, at: str) -> None:
        for key, value in mapping.items():
            found[f"{at}{key}"] = mapping.lc.key(key)[0]
            if isinstance(value, dict):
                collect(value, f"{at}{key}.")

    collect(YAML().load(PARAMS_TEXT), "")
    return found


def comment_on(line: int) -> str:
    """Return the comment of the key on `line`: behind it, going on below, or in a block of its own above."""
    lines = PARAMS_TEXT.splitlines()
    indent = len(lines[line]) - len(lines[line].lstrip())
    above, below = line - 1, line + 1
    while above >= 0 and lines[above].startswith(" " * indent + "#"):
        above -= 1
    while below < len(lines) and re.match(rf"\s{{{indent + 1},}}(#|- )", lines[below]):
        below += 1
    return " ".join(part.partition("#")[2].strip("# -") for part in lines[above + 1 : below] if "#" in part).strip()


def test_the_file_and_the_schema_hold_the_same_keys() -> None:
    assert set(keys_of_the_file()) == set(FIELDS)


@pytest.mark.parametrize("key", keys_of_the_file())
def test_every_key_has_a_comment(key: str) -> None:
    assert len(comment_on(keys_of_the_file()[key])) > 10


@pytest.mark.parametrize("key", CHOICES)
def test_the_comment_of_a_key_with_choices_names_each(key: str) -> None:
    comment = comment_on(keys_of_the_file()[key])
    assert [choice for choice in CHOICES[key] if not re.search(rf"\b{choice}\b", comment)] == []


def test_the_repositorys_params_pass_the_check() -> None:
    assert check(load(ROOT / "params.yaml")).corpus == "data/sample"


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "value"), [("5e-05", 5e-5), ("1e-4", 1e-4), ("5e-4", 5e-4), ("1", 1.0)])
def test_a_number_is_read_however_yaml_1_2_or_dvc_writes_it(workspace: Path, written: str, value: float) -> None:
    file = workspace / "params.yaml"
    text, found = re.subn(r"^(  lr: )\S+", rf"\g<1>{written}", PARAMS_TEXT, flags=re.MULTILINE)
    assert found == 1
    file.write_text(text, encoding="utf-8")
    lr = read_section("train", TrainParams).lr
    assert (lr, type(lr)) == (value, float)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("train.lr", "1e-4", "a valid number"),
        ("train.epochs", "10", "a valid integer"),
        ("train.epochs", 10.0, "a valid integer"),
        ("train.epochs", True, "a valid integer"),
        ("train.lr", True, "a valid number"),
        ("train.lr", None, "a valid number"),
        ("train.seed", 0.5, "a valid integer"),
        ("model.name", 5, "a valid string"),
        ("model.revision", 1234567, "a valid string"),
        ("corpus", None, "a valid string"),
        ("split.gold_in_test", "yes", "a valid boolean"),
        ("runtime.monitor", 1, "a valid boolean"),
        ("extract.metadata_columns", "keywords", "a valid list"),
        ("extract.metadata_columns", None, "a valid list"),
        ("evaluate.tfidf.ngrams", [1, 2], "a valid integer"),
        ("annotate.provider", "human", "'zero_shot', 'openai' or 'file'"),
        ("train.best_by", "f1", "'loss', 'macro_f1' or 'weighted_f1'"),
        ("extract.engine", "Layout", "'layout' or 'fast'"),
    ],
)
def test_a_wrong_type_or_choice_is_named(key: str, value: object, wanted: str) -> None:
    assert complaint(changed(key, value)) == f"params.yaml: {key}: must be {wanted} (is {value!r})"


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_that_is_none_is_told_the_choices(key: str) -> None:
    told = complaint(changed(key, "nonsense"))
    assert told.startswith(f"params.yaml: {key}: must be ")
    assert all(repr(choice) in told for choice in CHOICES[key])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extract.max_tokens", 0),
        ("extract.timeout_s", 0),
        ("extract.memory_mb", 511),
        ("annotate.sample", -1),
        ("annotate.zero_shot.model", ""),
        ("annotate.zero_shot.window_tokens", 15),
        ("annotate.zero_shot.revision", ""),
        ("annotate.zero_shot.temperature", 0),
        ("annotate.max_failed", 1.1),
        ("annotate.openai.base_url", "localhost:8000"),
        ("annotate.openai.votes", 0),
        ("annotate.openai.extra", {"stream": True}),
        ("annotate.openai.extra", {"when": datetime.date(2026, 1, 1)}),
        ("merge_classes.min_count", 0),
        ("merge_classes.similarity", 0),
        ("merge_classes.similarity", 1.01),
        ("split.test_size", 0),
        ("split.test_size", 0.9),
        ("split.validation_size", 0),
        ("split.validation_size", 1),
        ("split.near_duplicate", 0),
        ("split.near_duplicate", 1.01),
        ("model.name", ""),
        ("model.revision", ""),
        ("model.max_length", 7),
        ("train.lr", 0),
        ("train.lr", -1e-4),
        ("train.epochs", 0),
        ("train.batch_size", 0),
        ("train.gradient_accumulation", 0),
        ("train.trainable_layers", -2),
        ("train.label_smoothing", -0.1),
        ("train.label_smoothing", 1),
        ("train.warmup", 1),
        ("train.weight_decay", -0.1),
        ("train.attention_dropout", 1),
        ("train.learning_curve", True),
        ("evaluate.batch_tokens", 0),
        ("evaluate.tfidf.ngrams", 0),
        ("evaluate.tfidf.ngrams", 4),
        ("evaluate.tfidf.C", 0),
        ("evaluate.embeddings.C", 0),
        ("evaluate.embeddings.max_tokens", 0),
        ("evaluate.resamples", 99),
        ("runtime.workers", -1),
    ],
)
def test_a_value_out_of_range_is_named(key: str, value: object) -> None:
    told = complaint(changed(key, value))
    assert told.startswith(f"params.yaml: {key}: must ")
    assert told.endswith(f"(is {value!r})")
    assert ";" not in told


@pytest.mark.parametrize("key", [key for key in LEAVES if FIELDS[key] is float])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_infinity_and_nan_are_no_numbers(key: str, value: float) -> None:
    assert complaint(changed(key, value)) == f"params.yaml: {key}: must be a finite number (is {value})"


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    told = complaint(changed("extract.metadata_columns", ["authors", 5]))
    assert told == "params.yaml: extract.metadata_columns.1: must be a valid string (is 5)"


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    params = changed("split.test_size", 0.5)
    params["split"]["validation_size"] = 0.5
    told = complaint(params)
    assert told == "params.yaml: split.validation_size: must be below 1 together with test_size (is 0.5)"


@pytest.mark.parametrize("key", FIELDS)
def test_a_missing_key_or_section_is_named(key: str) -> None:
    assert complaint(changed(key)) == f"params.yaml: {key} is missing"


@pytest.mark.parametrize("key", SECTIONS)
@pytest.mark.parametrize("value", [None, [], "text", 5], ids=repr)
def test_a_section_that_is_none_is_named(key: str, value: object) -> None:
    assert complaint(changed(key, value)) == f"params.yaml: {key}: must be a section with keys below it (is {value!r})"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.epoch", "epochs"),
        ("train.batchsize", "batch_size"),
        ("evaluate.tfidf.ngram", "ngrams"),
        ("annotate.zero_shot.windowtokens", "window_tokens"),
        ("trian", "train"),
    ],
)
def test_a_misspelt_key_is_named_with_the_one_meant(key: str, meant: str) -> None:
    assert complaint(changed(key, 1)) == f"params.yaml: {key} is no known key; did you mean {meant}?"


def test_a_key_like_no_other_is_told_the_known_ones() -> None:
    told = complaint(changed("merge_classes.zzz", 1))
    assert told == "params.yaml: merge_classes.zzz is no known key (known: min_count, rare, similarity)"


def test_a_key_that_is_no_text_is_named() -> None:
    params = changed("corpus", "data/sample")
    params["merge_classes"][5] = 1
    assert complaint(params) == "params.yaml: merge_classes.5 is no known key (known: min_count, rare, similarity)"


def test_every_fault_is_told_at_once() -> None:
    params = changed("train.lr", "fast")
    params["split"]["sede"] = params["split"].pop("seed")
    told = complaint(params)
    assert {"train.lr: must be a valid number (is 'fast')", "split.seed is missing"} <= {
        part.removeprefix("params.yaml: ") for part in told.split("; ")
    }
    assert "split.sede is no known key; did you mean seed?" in told


def test_a_section_read_alone_names_the_whole_key(workspace: Path) -> None:
    edit_params(workspace / "params.yaml", {"train.lr": "fast"})
    with pytest.raises(UserError, match=r"^params\.yaml: train\.lr: must be a valid number \(is 'fast'\)$"):
        read_section("train", TrainParams)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "params.yaml holds no sections"),
        ("- train", "params.yaml holds no sections"),
        ("train: {lr: 1", "params.yaml cannot be read as YAML: .*line 1"),
        ("corpus: a\ncorpus: b\n", "params.yaml cannot be read as YAML: .*duplicate key"),
        (b"corpus: \xff\xfe\n", "params.yaml cannot be read as YAML: .*utf-8"),
    ],
)
def test_a_file_that_is_no_params_file_is_named(workspace: Path, content: str | bytes, told: str) -> None:
    (workspace / "params.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=told):
        load()


def test_a_missing_params_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^params\.yaml is missing here"):
        load()


@pytest.mark.parametrize("value", [None, "", 5, "data/nowhere"])
def test_a_corpus_that_is_no_folder_is_named(workspace: Path, value: object) -> None:
    edit_params(workspace / "params.yaml", {"corpus": value})
    with pytest.raises(UserError, match=rf"^params\.yaml: corpus: .*{value!r}"):
        read_corpus()


def test_a_typo_in_train_stops_the_first_stage_with_one_line(workspace: Path) -> None:
    edit_params(workspace / "params.yaml", {"train.lr": "1e-4"})
    ended = run_stage("extract", cwd=workspace)
    assert ended.returncode == 1
    assert ended.stderr == "error: params.yaml: train.lr: must be a valid number (is '1e-4')\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["params.yaml"]


# ---------------------------------------------------------------------------------------------------------------------
# Seeds
# ---------------------------------------------------------------------------------------------------------------------


def test_seeds_differ_by_purpose_and_seed_and_never_change() -> None:
    """The numbers are what every earlier run was made with."""
    assert derive(0, "train") == 395396937
    assert len({derive(seed, purpose) for seed in range(50) for purpose in ("train", "split")}) == 100
    assert all(0 <= derive(seed, "split") < 2**32 for seed in (-1, 0, 2**70))


def test_a_place_in_the_order_follows_from_seed_purpose_and_name() -> None:
    places = {rank(seed, purpose, name) for seed in (0, 1) for purpose in ("a", "b") for name in ("x", "y")}
    assert len(places) == 8
    assert rank(0, "a", "x") == rank(0, "a", "x") != rank(0, "ax", "")


# ---------------------------------------------------------------------------------------------------------------------
# dvc.yaml and the code
# ---------------------------------------------------------------------------------------------------------------------


def listed(stage: str) -> set[str]:
    """Return the params of a stage in dvc.yaml; the chosen provider's section stands for each provider's keys."""
    found: set[str] = set()
    for entry in STAGES[stage]["params"]:
        if entry == "annotate.${annotate.provider}":
            sections = tuple(f"annotate.{provider}." for provider in CHOICES["annotate.provider"])
            found |= {leaf for leaf in LEAVES if leaf.startswith(sections)}
        else:
            found.add(entry)
    return found


def sections_read(stage: str) -> set[str]:
    """Return the sections that a stage's file reads: the first arguments of `read_section`."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    return {
        ast.literal_eval(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_section"
    }


def test_there_are_six_stages_and_each_runs_its_file() -> None:
    assert list(STAGES) == ["extract", "annotate", "merge_classes", "split", "train", "evaluate"]
    assert {name: stage["cmd"] for name, stage in STAGES.items()} == {
        name: f"python -m stages.{name}" for name in STAGES
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_what_it_does(stage: str) -> None:
    assert STAGES[stage]["desc"].endswith(".")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_every_leaf_of_the_sections_it_reads_and_no_other(stage: str) -> None:
    sections = sections_read(stage)
    assert listed(stage) == {leaf for leaf in LEAVES if leaf.split(".")[0] in sections}
    assert len(STAGES[stage]["params"]) == len(set(STAGES[stage]["params"]))


def test_every_leaf_but_the_corpus_and_this_machine_is_some_stages_param() -> None:
    every = set().union(*(listed(stage) for stage in STAGES))
    assert every == {leaf for leaf in LEAVES if leaf != "corpus" and not leaf.startswith("runtime.")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_code_dependencies_are_its_imports(stage: str) -> None:
    found: list[str] = []
    for dependency in STAGES[stage]["deps"]:
        if dependency.startswith("stages/"):
            path = ROOT / dependency
            files = path.rglob("*.py") if path.is_dir() else [path]
            found += [file.relative_to(ROOT).as_posix() for file in files]
    assert sorted(found) == sorted(closure(stage, ROOT))


def test_the_top_package_sets_progress_bars_alone() -> None:
    """No stage lists it as a dependency, so nothing in it may change an output."""
    docstring, import_os, *settings = ast.parse((ROOT / "stages" / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(import_os) == "import os"
    harmless = re.compile(r"os\.environ\.setdefault\('\w+_(PROGRESS_BARS|VERBOSITY)', '\w+'\)")
    assert [ast.unparse(line) for line in settings if not harmless.fullmatch(ast.unparse(line))] == []


def test_every_import_of_ours_is_one_the_closure_sees() -> None:
    hidden = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and node.level)
        or (isinstance(node, ast.Name) and node.id == "__import__")
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    ]
    assert hidden == []


def room_of(file: Path) -> str:
    """Return the first folder below stages/ that `file` lies in, "" for stages and commands."""
    return file.relative_to(ROOT / "stages").parts[0] if file.parent != ROOT / "stages" else ""


def test_no_room_imports_a_stage_or_command() -> None:
    upwards = [
        (str(file.relative_to(ROOT)), target.name)
        for file in FILES
        if room_of(file)
        for target in imported(file, ROOT)
        if not room_of(target) and target.name != "__init__.py"
    ]
    assert upwards == []


def test_files_import_each_other_in_no_circle() -> None:
    """Leaving out that a file of a room always imports the room's own __init__.py, which may gather its files."""
    order = TopologicalSorter(
        {file: imported(file, ROOT) - {file, file.with_name("__init__.py")} for file in FILES}
    ).static_order()
    assert set(order) == set(FILES)


def test_rooms_import_each_other_in_no_circle() -> None:
    """All but the runtime room: its checker knows every room's params, and every room its errors."""
    edges: dict[str, set[str]] = {}
    for file in FILES:
        targets = {room_of(target) for target in imported(file, ROOT)} - {room_of(file), "", "runtime"}
        if room_of(file) not in ("", "runtime"):
            edges.setdefault(room_of(file), set()).update(targets)
    assert set(TopologicalSorter(edges).static_order()) == set(edges)
