"""Linear layers on a CPU by oneDNN, their weights laid out for it once.

For float32 torch calls Intel's MKL, which lays the weights out anew at each call. oneDNN, which comes with torch as
well, was a tenth faster on an AMD processor with AVX-512 and level when held to AVX2 (no other was measured), and can
apply BERT's GELU to a product while that is in the cache. torch's public
way to it is `torch.compile`, which needs a C++ compiler and a minute; what is called here are the two operations that
compiled models call.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation
from transformers.models.bert.modeling_bert import BertIntermediate

Forward = Callable[[Tensor], Tensor]


@contextmanager
def packed(model: PreTrainedModel, rows: int) -> Iterator[None]:
    """Have oneDNN multiply in the linear layers of a float32 model on an x86 CPU; no gradients flow.

    What is said differs by rounding. The layout costs the memory of the weights once more, as long as it lasts.

    Args:
        rows: of the matrices that the layers get as a rule: the layout is made for so many, and fits any number.
    """
    changed = _forwards(model, rows) if _faster(model) else {}
    for module, forward in changed.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _faster(model: PreTrainedModel) -> bool:
    x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    there: bool = torch.backends.mkldnn.is_available()
    return x86 and there and model.device.type == "cpu" and model.dtype == torch.float32


def _forwards(model: PreTrainedModel, rows: int) -> dict[nn.Module, Forward]:
    """Return the modules that are to work in another way, each with that way."""
    forwards: dict[nn.Module, Forward] = {}
    for module in model.modules():
        if type(module) is nn.Linear:
            forwards[module] = _multiply(module, rows)
        elif type(module) is BertIntermediate and type(module.intermediate_act_fn) is GELUActivation:
            forwards[module] = _multiply(module.dense, rows, gelu=True)
    return forwards


def _multiply(layer: nn.Linear, rows: int, *, gelu: bool = False) -> Forward:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    after, algorithm = ("gelu", "none") if gelu else ("none", "")

    def forward(states: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, layer.bias, after, [], algorithm)
        return product

    return forward
