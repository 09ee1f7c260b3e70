"""NeoBERT: the golden values of the published code, independence of padding and neighbours, round trips."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from stages.neobert.configuration import NeoBERTConfig
from stages.neobert.modeling import NeoBERT, NeoBERTForSequenceClassification, NeoBERTLMHead
from stages.neobert.rotary import rotary_tables, rotate
from tests.benchmarks.published_neobert import encode
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/neobert"
IMPLEMENTATIONS = ["sdpa", "eager"]


def golden(kind: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / kind / "expected.safetensors")


def close(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    assert_close(found, expected, atol=atol, rtol=1e-5)


def tiny(seed: int = 0, implementation: str = "sdpa", **changes: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "num_hidden_layers": 2}
    config = NeoBERTConfig(vocab_size=50, max_length=64, num_labels=3, **{**shape, **changes})
    config._attn_implementation = implementation
    model = NeoBERTForSequenceClassification(config).eval()
    for weight in model.parameters():  # the usual small first weights would hide errors below the tolerance
        torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_pretrained_model_computes_what_the_published_code_does(implementation: str) -> None:
    expected = golden("pretrained")
    model = AutoModelForMaskedLM.from_pretrained(GOLDEN / "pretrained", attn_implementation=implementation).eval()
    real = expected["attention_mask"].bool()
    with torch.inference_mode():
        found = model(expected["input_ids"], expected["attention_mask"])
        states = model.model(expected["input_ids"], expected["attention_mask"]).last_hidden_state
    # The golden logits are themselves 2e-5 off what float64 gives.
    close(found.logits[real], expected["mlm_logits"][real], atol=2e-5)
    close(states[real], expected["last_hidden_state"][real])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_classifier_computes_what_the_published_code_does(implementation: str) -> None:
    expected = golden("classifier")
    model = AutoModelForSequenceClassification.from_pretrained(
        GOLDEN / "classifier", attn_implementation=implementation
    ).eval()
    real = expected["attention_mask"].bool()
    with torch.inference_mode():
        found = model(expected["input_ids"], expected["attention_mask"], output_hidden_states=True)
    close(found.logits, expected["logits"])
    close(found.hidden_states[1][real], expected["hidden_state_after_block_1"][real])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_documents_one_by_one_and_padded_on_the_left_give_the_same(implementation: str) -> None:
    expected = golden("classifier")
    model = AutoModelForSequenceClassification.from_pretrained(
        GOLDEN / "classifier", attn_implementation=implementation
    ).eval()
    ids, mask = expected["input_ids"], expected["attention_mask"]
    lengths = mask.sum(dim=1).tolist()
    width = ids.shape[1]
    left_ids, left_mask, positions = torch.zeros_like(ids), torch.zeros_like(mask), torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        left_ids[row, width - length :] = ids[row, :length]
        left_mask[row, width - length :] = 1
        positions[row, width - length :] = torch.arange(length)
    with torch.inference_mode():
        alone = torch.cat([model(ids[row : row + 1, :length]).logits for row, length in enumerate(lengths)])
        left = model(left_ids, left_mask, position_ids=positions).logits
    close(alone, expected["logits"])
    close(left, expected["logits"])


documents = st.lists(st.lists(st.integers(1, 49), min_size=1, max_size=12), min_size=1, max_size=5)


def batch_of(texts: list[list[int]], width: int, fill: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([text + [fill] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return ids, mask


@given(
    texts=documents, extra=st.integers(0, 5), fill=st.integers(0, 49), implementation=st.sampled_from(IMPLEMENTATIONS)
)
@settings(max_examples=40)
def test_neighbours_and_padding_change_nothing(
    texts: list[list[int]], extra: int, fill: int, implementation: str
) -> None:
    model = tiny(implementation=implementation)
    width = max(map(len, texts)) + extra
    with torch.inference_mode():
        together = model(*batch_of(texts, width, fill)).logits
        alone = torch.cat([model(torch.tensor([text])).logits for text in texts])
    assert torch.isfinite(together).all()
    close(together, alone)


@given(mask=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
@settings(max_examples=40)
def test_logits_are_finite_whatever_the_mask(mask: list[list[bool]]) -> None:
    """Holes, and documents without a single token, among them."""
    for implementation in IMPLEMENTATIONS:
        model = tiny(implementation=implementation)
        attention_mask = torch.tensor(mask).long()
        ids = torch.randint(1, 50, attention_mask.shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.isfinite(model(ids, attention_mask).logits).all()


@given(texts=documents)
@settings(max_examples=20)
def test_gradients_are_those_of_the_padded_published_way(texts: list[list[int]]) -> None:
    ids, mask = batch_of(texts, max(map(len, texts)) + 1)
    gradients = []
    for packed in (True, False):
        model = tiny().model
        states = model(ids, mask).last_hidden_state if packed else encode(model, ids, mask)
        states[mask.bool()].pow(2).mean().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    ours, theirs = gradients
    for name, gradient in theirs.items():
        close(ours[name], gradient)


def test_a_step_in_bf16_has_the_gradients_of_float32_but_for_rounding() -> None:
    ids, mask = batch_of([[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11]], 8)
    gradients = []
    for half in (False, True):
        model = tiny(hidden_size=64)
        model.dropout.p = 0.0
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            model(ids, mask, labels=torch.tensor([0, 1, 2])).loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.model.transformer_encoder.parameters()]))
    exact, rounded = gradients
    assert float((rounded - exact).norm() / exact.norm()) < 0.05


def test_a_rotation_has_the_gradient_of_a_rotation() -> None:
    cosine, sine = (table.double() for table in rotary_tables(torch.arange(5), 4))
    pairs = torch.randn(5, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda states: rotate(states, (cosine, sine)), pairs)


def test_hidden_states_are_the_embeddings_and_what_each_block_gives() -> None:
    ids, mask = batch_of([[1, 2, 3], [4]], 4)
    model = tiny().model
    with torch.inference_mode():
        states = model(ids, mask, output_hidden_states=True).hidden_states
        assert model(ids, mask).hidden_states is None
    assert [layer.shape for layer in states] == [(2, 4, 16)] * 3
    assert_close(states[0][mask.bool()], model.encoder(ids)[mask.bool()])
    assert_close(model.layer_norm(states[-1]), model(ids, mask).last_hidden_state)


def test_attention_weights_come_with_eager_and_only_with_eager() -> None:
    ids, mask = batch_of([[1, 2, 3], [4]], 4)
    with torch.inference_mode():
        weights = tiny(implementation="eager")(ids, mask, output_attentions=True).attentions
    assert [layer.shape for layer in weights] == [(2, 2, 4, 4)] * 2
    assert_close(weights[0][0, :, :3].sum(dim=-1), torch.ones(2, 3))
    assert not weights[0][0, :, :, 3].any()
    with pytest.raises(ValueError, match="eager"):
        tiny()(ids, mask, output_attentions=True)


def test_every_auto_class_gives_our_model_and_runs_no_code_of_the_checkpoint(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "pretrained", tmp_path / "checkpoint")
    (folder / "model.py").write_text("raise SystemExit('code of the checkpoint ran')\n")
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    assert type(AutoConfig.from_pretrained(folder)) is NeoBERTConfig
    for auto, ours in (
        (AutoModel, NeoBERT),
        (AutoModelForMaskedLM, NeoBERTLMHead),
        (AutoModelForSequenceClassification, NeoBERTForSequenceClassification),
    ):
        assert type(auto.from_pretrained(folder)) is ours


@pytest.mark.parametrize(
    ("kind", "auto"), [("pretrained", AutoModelForMaskedLM), ("classifier", AutoModelForSequenceClassification)]
)
def test_a_saved_model_has_the_published_names_and_gives_the_same_bits(
    kind: str, auto: type[PreTrainedModel], tmp_path: Path
) -> None:
    model = auto.from_pretrained(GOLDEN / kind).eval()
    model.save_pretrained(tmp_path)
    again = auto.from_pretrained(tmp_path).eval()
    published, saved = (load_file(folder / "model.safetensors") for folder in (GOLDEN / kind, tmp_path))
    assert {name: weight.shape for name, weight in saved.items()} == {
        name: weight.shape for name, weight in published.items()
    }
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "norm_eps"):
        assert config[key] == json.loads((GOLDEN / kind / "config.json").read_text())[key]
    assert config["max_length"] == 128
    assert config["model_type"] == "neobert"
    expected = golden(kind)
    with torch.inference_mode():
        first, second = (each(expected["input_ids"], expected["attention_mask"]).logits for each in (model, again))
    assert torch.equal(first, second)


def test_without_our_code_a_saved_model_is_refused_rather_than_misread(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    plain = (
        "import sys; from transformers import AutoModelForSequenceClassification as A; A.from_pretrained(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", plain, tmp_path], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert "neobert" in done.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_dtype_rounds_but_does_not_break_positions(dtype: torch.dtype) -> None:
    ids = torch.arange(1, 41)[None]
    model = tiny(hidden_size=64)
    with torch.inference_mode():
        exact = model(ids).logits
        rounded = model.to(dtype)(ids).logits
        again = model.to(torch.float32)(ids).logits
    assert_close(rounded.float(), exact, atol=0.15, rtol=0.05)
    assert_close(again, exact, atol=0.15, rtol=0.05)


def test_a_model_made_on_the_meta_device_computes_once_it_has_weights() -> None:
    model = tiny()
    with torch.device("meta"):
        empty = NeoBERTForSequenceClassification(model.config).eval()
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    ids, mask = batch_of([[1, 2, 3], [4]], 4)
    with torch.inference_mode():
        assert torch.equal(empty(ids, mask).logits, model(ids, mask).logits)


def test_compiled_it_gives_the_same_for_batches_of_any_shape() -> None:
    model = tiny()
    compiled = torch.compile(model, backend="aot_eager", dynamic=True)
    for texts in ([[1, 2, 3], [4]], [[5, 6]], [[7] * 9, [8] * 5, [9]]):
        batch = batch_of(texts, 10)
        with torch.inference_mode():
            close(compiled(*batch).logits, model(*batch).logits)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    ids, mask = batch_of([[1, 2, 3], [4, 5]], 4)
    gradients = []
    for checkpointed in (False, True):
        model = tiny().train()
        model.dropout.p = 0.0
        if checkpointed:
            model.activation_checkpointing_enable()
        model(ids, mask, labels=torch.tensor([0, 2])).loss.backward()
        gradients.append(model.model.transformer_encoder[0].qkv.weight.grad)
    assert_close(*gradients)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": torch.ones(1, 65, dtype=torch.long)}, "65 tokens.*64"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.ones(1, 1, 3, 3)}, "attention_mask"),
    ],
)
def test_what_the_model_cannot_read_is_named(arguments: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny()(**arguments)


def test_heads_that_do_not_divide_the_width_are_named() -> None:
    with pytest.raises(Exception, match="hidden_size 20 is no multiple"):
        NeoBERTConfig(hidden_size=20, num_attention_heads=3)


def test_the_published_size_has_the_published_widths() -> None:
    config = NeoBERTConfig()
    assert (config.head_size, config.swiglu_size) == (64, 2048)
