"""Linear layers by oneDNN: the same answers, and a model that is afterwards what it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from stages.inference.packing import packed

X86 = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="oneDNN multiplies on x86 only"
)


def changed(model: PreTrainedModel) -> set[type[nn.Module]]:
    return {type(module) for module in model.modules() if "forward" in vars(module)}


@X86
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "modernbert", "neobert"])
def test_the_logits_are_the_models_own(architecture: str, tiny_model: Callable[[str], Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model(architecture), dtype=torch.float32).eval()
    for width, texts in [(1, 1), (7, 1), (16, 3), (32, 5)]:
        ids = torch.randint(5, 100, (texts, width), generator=torch.Generator().manual_seed(width))
        mask = torch.ones_like(ids)
        mask[0, width // 2 + 1 :] = 0
        with torch.inference_mode():
            own = model(ids, attention_mask=mask).logits
            with packed(model, 16):
                assert nn.Linear in changed(model)
                found = model(ids, attention_mask=mask).logits
            assert not changed(model)
            assert torch.equal(model(ids, attention_mask=mask).logits, own)
        torch.testing.assert_close(found, own, atol=1e-6, rtol=1e-5)


@X86
@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new"])
def test_only_the_exact_gelu_is_applied_to_the_product(activation: str, tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    model = AutoModelForSequenceClassification.from_pretrained(folder, hidden_act=activation).float().eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        own = model.bert(ids).last_hidden_state
        with packed(model, 16):
            assert (len(changed(model)) == 2) == (activation == "gelu")
            torch.testing.assert_close(model.bert(ids).last_hidden_state, own, atol=1e-6, rtol=1e-5)


def test_a_model_of_half_precision_stays_as_it_is(tiny_model: Callable[[str], Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"), dtype=torch.bfloat16)
    with packed(model, 16):
        assert not changed(model)


def test_the_model_is_itself_again_after_an_error(tiny_model: Callable[[str], Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"))
    with pytest.raises(ZeroDivisionError), packed(model, 16):
        raise ZeroDivisionError
    assert not changed(model)
