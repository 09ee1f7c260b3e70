"""Our NeoBERT against the published way of computing it and against the machine's limit, in one run.

    python -m tests.benchmarks.neobert_speed                    # CPU: a quarter of an hour on two cores
    python -m tests.benchmarks.neobert_speed --device cuda      # torch.compile included

The published size with random weights; documents of 10 to 100 % of L tokens, uniformly. Prints real tokens per
second, the best of some repetitions. The limit is the arithmetic of the real tokens (2 FLOP a weight of the blocks,
4 x length x width x blocks for attention; three times that for a training step) at the rate of plain matrix products of
the blocks' shapes. bf16 means weights in bf16 for inference, autocast for training.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stages.neobert.configuration import NeoBERTConfig
from stages.neobert.modeling import NeoBERT
from tests.benchmarks.published_neobert import encode

Way = Callable[[Tensor, Tensor], Tensor]


def make_batch(documents: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Return ids and mask of documents of evenly spread lengths in random order."""
    generator = torch.Generator().manual_seed(0)
    lengths = (
        (torch.linspace(0.1, 1.0, documents) * width).round().long()[torch.randperm(documents, generator=generator)]
    )
    mask = (torch.arange(width) < lengths[:, None]).long()
    ids = torch.randint(1000, 30000, mask.shape, generator=generator) * mask
    return ids.to(device), mask.to(device)


def best_seconds(work: Callable[[], object], repetitions: int, device: str) -> float:
    """Return the shortest time of a call, after one to warm up."""
    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def product_rate(model: NeoBERT, tokens: int, dtype: torch.dtype, repetitions: int, device: str) -> float:
    """Return FLOP/s of the products of one block, weights and inputs of the block's shapes alone."""
    block = model.transformer_encoder[0]
    weights = [layer.weight.detach().to(dtype) for layer in (block.qkv, block.wo, block.ffn.w12, block.ffn.w3)]
    inputs = [torch.randn(tokens, weight.shape[1], device=device, dtype=dtype) for weight in weights]

    def work() -> None:
        for _ in range(4):
            for weight, states in zip(weights, inputs, strict=True):
                torch.nn.functional.linear(states, weight)

    flops = 4 * 2 * tokens * sum(weight.numel() for weight in weights)
    with torch.inference_mode():
        return float(flops / best_seconds(work, repetitions, device))


def arithmetic(config: NeoBERTConfig, mask: Tensor) -> float:
    """Return the FLOP of encoding the real tokens of a batch once."""
    lengths = mask.sum(dim=1).double()
    weights = config.hidden_size * (4 * config.hidden_size + 3 * config.swiglu_size)
    attention = 4 * config.hidden_size * float(lengths.pow(2).sum())
    return float(config.num_hidden_layers * (2 * weights * lengths.sum() + attention))


def inference(way: Way, batch: tuple[Tensor, Tensor]) -> Callable[[], object]:
    """Return a call that encodes the batch."""

    def work() -> Tensor:
        with torch.inference_mode():
            return way(*batch)

    return work


def training(
    way: Way, batch: tuple[Tensor, Tensor], model: NeoBERT, precision: AbstractContextManager[None]
) -> Callable[[], object]:
    """Return a call that takes a step of training without the optimiser: forward and backward, all weights."""

    def work() -> None:
        model.zero_grad()
        with precision:
            states = way(*batch)
        states[batch[1].bool()].float().pow(2).mean().backward()

    return work


def measure(
    model: NeoBERT, documents: int, width: int, half: bool, trained: bool, arguments: argparse.Namespace
) -> None:
    """Print one line of the table: both ways on the same batch."""
    device, repetitions = arguments.device, arguments.repetitions
    batch = make_batch(documents, width, device)
    real = int(batch[1].sum())
    dtype = torch.bfloat16 if half else torch.float32
    model = copy.deepcopy(model).train() if trained or not half else copy.deepcopy(model).to(dtype).eval()
    rate = product_rate(model, real, dtype, repetitions, device)
    limit = real * rate / arithmetic(model.config, batch[1]) / (3 if trained else 1)

    def ours(ids: Tensor, mask: Tensor) -> Tensor:
        return model(ids, mask).last_hidden_state

    def published(ids: Tensor, mask: Tensor) -> Tensor:
        return encode(model, ids, mask)

    ways: dict[str, Way] = {"published": published, "ours": ours}
    if arguments.compile:
        compiled = torch.compile(model, dynamic=True)
        ways["compiled"] = lambda ids, mask: compiled(ids, mask).last_hidden_state
    precision = torch.autocast(device, torch.bfloat16) if half and trained else nullcontext()
    speeds = {}
    for name, way in ways.items():
        work = training(way, batch, model, precision) if trained else inference(way, batch)
        speeds[name] = real / best_seconds(work, repetitions, device)
    cells = [f"{speed:9,.0f}" for speed in speeds.values()]
    ratios = [f"{speed / speeds['published']:5.2f}" for name, speed in speeds.items() if name != "published"]
    shares = [f"{100 * speed / limit:4.0f} %" for name, speed in speeds.items() if name != "published"]
    kind = "training" if trained else "inference"
    size = f"{documents} x {width}"
    row = [f"{kind:<9}", "bf16" if half else "fp32", f"{size:>9}", f"{rate / 1e9:9,.0f}", *cells, *ratios, *shares]
    print(" | ".join(row), flush=True)


def main(given: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=28, help="fewer for a quick look")
    parser.add_argument("--only", choices=["inference", "training"])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on with cuda")
    arguments = parser.parse_args(given)
    if arguments.compile is None:
        arguments.compile = arguments.device == "cuda"
    torch.manual_seed(0)
    model = NeoBERT(NeoBERTConfig(num_hidden_layers=arguments.blocks)).to(arguments.device)
    ways = ["published", "ours", *(["compiled"] if arguments.compile else [])]
    print(f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads; real tokens a second")
    print("what | precision | L | products GFLOP/s |", " | ".join(ways), "| ours / published | share of the limit")
    sizes = ((8, 256), (2, 1024)) if arguments.device == "cpu" else ((64, 256), (32, 1024))
    for trained in (False, True):
        if arguments.only and trained != (arguments.only == "training"):
            continue
        for half in (False, True):
            for documents, width in sizes:
                measure(model, documents, width, half, trained, arguments)


if __name__ == "__main__":
    main()
