"""A classifier as an ONNX file, which runs without torch, transformers and this repository; checked against itself."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.exporting.dense import DenseNeoBERT
from stages.inference.classifier import Classifier
from stages.runtime.errors import UserError
from stages.windows import cut, pad

# The largest difference of a logit that rounding may make.
TOLERANCE = 1e-4
# What the check reads: texts of these shares of the longest length, each alone and all in one padded batch.
SHARES = (1.0, 0.5, 0.1, 0.02)
# Tokens of the longest of them, whatever the model can read: beyond it only the time of the check grows.
LONGEST = 1024
Batch = dict[str, Tensor]


class _Logits(nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Take ids and mask [batch, length]; return logits [batch, labels]."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def write_onnx(classifier: Classifier, texts: Sequence[str], path: Path) -> float:
    """Write the model as ONNX for batches of any size and length, and hold it against the model itself.

    The inputs are `input_ids` and `attention_mask`, int64 [batch, length], the output `logits`, float32
    [batch, labels]. No path of this machine stays in the file.

    Args:
        texts: what both are asked about, cut to several lengths.

    Returns:
        The largest difference between a logit of one and of the other.

    Raises:
        UserError: if the model cannot be traced, or if the two differ by more than `TOLERANCE`.
    """
    model = classifier.model.cpu()
    batches = _examples(classifier, texts)
    traced = DenseNeoBERT(model) if model.config.model_type == "neobert" else _Logits(model)
    free = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    with torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                traced.eval(),
                kwargs=batches[-1],
                input_names=list(batches[-1]),
                output_names=["logits"],
                dynamic_shapes=dict.fromkeys(batches[-1], free),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as fault:
            reason = str(fault).strip().splitlines()[0]
            raise UserError(f"--onnx: a {model.config.model_type} model cannot be traced: {reason}") from None
    _forget_its_making(program.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=False)
    difference = _compare(model, batches, path)
    if not difference <= TOLERANCE:
        path.unlink()
        raise UserError(
            f"--onnx: the file's logits differ from the model's by {difference:.1e}, more than {TOLERANCE:.0e}: "
            f"a {model.config.model_type} model cannot be exported with these versions of torch and onnxruntime"
        )
    return difference


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says about its own parts and steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _examples(classifier: Classifier, texts: Sequence[str]) -> list[Batch]:
    """Return batches of one text each, of several lengths, and last one of all of them, padded."""
    tokenizer = classifier.tokenizer
    longest = min(tokenizer.model_max_length, LONGEST)
    windows: list[list[int]] = []
    for share in SHARES:
        [read] = cut(["\n".join(texts)], tokenizer, max(round(share * longest), 3), "truncate")
        windows += read.ids
    return [pad(part, tokenizer) for part in (*([window] for window in windows), windows)]


def _forget_its_making(model: ir.Model) -> None:
    """Take out of an ONNX model where in which file each operation was written."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None


def _compare(model: PreTrainedModel, batches: Sequence[Batch], path: Path) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for batch in batches:
        with torch.inference_mode():
            wanted = model(**batch).logits.numpy()
        [found] = session.run(["logits"], {name: tensor.numpy() for name, tensor in batch.items()})
        differences.append(float(np.abs(wanted - found).max()))
    return max(differences)
