"""Small things that many tests need: tiny models, a mini corpus, a clone of this repository."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Tests run side by side on few cores, and never ask a Hub for anything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

# Its log goes where stdout was at the first import: not into a test's own, which is closed after it.
import dvc  # noqa: F401
import hypothesis
import pytest

from tests.browser import browser as browser

if TYPE_CHECKING:
    from tests.chat_server import ChatServer
    from tests.small_asking import Place, Runner
    from tests.test_pipeline import Clone

# A slow machine is no failure; and CI draws the same examples each time, people new ones.
hypothesis.settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("here")

ROOT = Path(__file__).parent.parent

CORPUS_CSVS = {
    "metadata.csv": "document_id,keywords",
    "categories.csv": "category,description",
    "labels.csv": "document_id,category",
    "examples.csv": "document_id,category",
    "gold.csv": "document_id,category",
    "classes.csv": "category,class",
    "overrides.csv": "document_id,class",
}


def make_corpus(folder: Path, documents: dict[str, str], **rows: list[str]) -> Path:
    """Make a corpus: documents by relative path, rows by the name of the CSV file (`labels=["a,b"]`)."""
    (folder / "documents").mkdir(parents=True)
    for path, text in documents.items():
        file = folder / "documents" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for name, header in CORPUS_CSVS.items():
        lines = [header, *rows.get(name.removesuffix(".csv"), [])]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with this repository's params.yaml, as current folder; stores inside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / ".cache"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


@pytest.fixture
def set_param(workspace: Path) -> Callable[[str, object], None]:
    """Change keys of the workspace's params.yaml: `set_param("train.lr", 1e-3)`."""

    def change(key: str, value: object) -> None:
        edit_params(workspace / "params.yaml", {key: value})

    return change


def edit_params(path: Path, changes: dict[str, object]) -> None:
    """Set dotted keys of a params file, comments kept."""
    from ruamel.yaml import YAML

    yaml = YAML()
    content = yaml.load(path)
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    yaml.dump(content, path)


@pytest.fixture(scope="session")
def shared_clone(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> "Clone":
    """A clone of this repository that has been run; tests that share it are of one xdist group."""
    from tests.test_pipeline import make_clone

    return make_clone(tmp_path_factory.mktemp("clones") / "clone", tiny_model("neobert"))


def run_stage(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m stages.NAME` in `cwd` against this repository's code."""
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def server(running: "ChatServer") -> "ChatServer":
    """The server that the test's module keeps running, as freshly started."""
    running.reset()
    return running


@pytest.fixture
def place(workspace: Path, server: "ChatServer", monkeypatch: pytest.MonkeyPatch) -> "Place":
    """A workspace to annotate in with provider openai; the test's module has the fixture `running` or `server`."""
    from tests.small_asking import Place

    assert server.api_key is not None
    monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
    return Place(workspace, server)


@pytest.fixture
def annotate(
    place: "Place",
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> "Runner":
    """Run `python -m stages.annotate` in the workspace, in this process, which has everything imported."""
    from tests.small_asking import Runner, quick

    def said() -> tuple[str, str]:
        printed, errors = capsys.readouterr()
        errors += caplog.text
        caplog.clear()
        return printed, errors

    caplog.set_level("INFO")
    quick(monkeypatch)
    return Runner(place, said, monkeypatch)


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer of up to 300 words and signs in a folder of its own.

    Its vocabulary is counted here: the library's trainer breaks ties otherwise in each process, and what a tiny model
    then learns is luck.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    text = (ROOT / "data/sample/categories.csv").read_text(encoding="utf-8").lower()
    words = Counter(re.findall(r"\w+|[^\w\s]", text))
    signs = sorted(set("".join(words)))
    frequent = sorted(words, key=lambda word: (-words[word], word))
    vocabulary = list(dict.fromkeys([*special, *signs, *(f"##{sign}" for sign in signs), *frequent]))[:300]
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a random encoder of two small blocks: `tiny_model("bert")`; returns its folder."""
    import torch
    from transformers import AutoConfig, AutoModel

    import stages.neobert  # noqa: F401  (makes the Auto classes know it)

    sizes = {
        "bert": {"intermediate_size": 32, "max_position_embeddings": 64, "num_hidden_layers": 2},
        "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64},
        "modernbert": {
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "max_position_embeddings": 64,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
        "neobert": {"intermediate_size": 24, "num_hidden_layers": 2, "max_length": 64},
    }

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        shutil.copytree(tiny_tokenizer, folder, dirs_exist_ok=True)
        shape = sizes[kind] if kind == "distilbert" else {"hidden_size": 16, "num_attention_heads": 2, **sizes[kind]}
        config = AutoConfig.for_model(kind, vocab_size=300, pad_token_id=0, **shape)
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return make
