"""Asking a model about any number of texts, on all cores: batches of like length, the next texts cut meanwhile."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.inference.packing import packed
from stages.training.pooling import only_first_token
from stages.windows import LongDocuments, batches, cut, log_mean_exp, pad

# Texts that are sorted by length together: enough to fill batches of like length, few enough for any memory.
CHUNK = 512
# Tokens that one core reads at a time: what they are multiplied with stays in its cache.
CORE_TOKENS = 1024


@dataclass(frozen=True)
class Answered:
    """What a model says about a chunk of texts.

    Args:
        logits: [texts, labels], float32.
        cut_off: how many of the texts were longer than the model reads.
    """

    logits: Tensor
    cut_off: int


@dataclass(frozen=True)
class _Asked:
    """A chunk on its way: its batches as places of windows, and what is to come of each."""

    texts: int
    cut_off: int
    document: Tensor
    answers: list[tuple[list[int], Future[Tensor]]]


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chunks: Iterable[Sequence[str]],
    batch_tokens: int,
    advance: Callable[[int], object],
) -> Iterator[Answered]:
    """Yield the answers to each chunk of texts, in order; while one is answered, the next is drawn from `chunks`.

    On a CPU each core reads batches of its own: together on one, cores wait for each other after every operation.
    What is said about a text depends on its chunk, by rounding alone, and never on the number of cores.

    Args:
        batch_tokens: padding included, that are read at a time; on a CPU by each core, and at most `CORE_TOKENS`.
        advance: told how many texts have been answered since it was told last.
    """
    cpu = model.device.type == "cpu"
    size = min(batch_tokens, CORE_TOKENS) if cpu else batch_tokens
    waiting = deque[_Asked]()
    pool = ThreadPoolExecutor(torch.get_num_threads() if cpu else 1)
    try:
        with _one_thread_each() if cpu else nullcontext(), only_first_token(model), packed(model, size):
            for texts in chunks:
                waiting.append(_begin(model, tokenizer, texts, size, pool))
                if len(waiting) > 1:
                    yield _end(waiting.popleft(), model.config.num_labels, advance)
            while waiting:
                yield _end(waiting.popleft(), model.config.num_labels, advance)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have each thread that calls torch compute alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    batch_tokens: int,
    pool: ThreadPoolExecutor,
) -> _Asked:
    how: LongDocuments = getattr(model.config, "long_documents", "truncate")  # a classifier that was not trained here
    read = list(cut(texts, tokenizer, tokenizer.model_max_length, how))
    windows = [ids for text in read for ids in text.ids]
    document = torch.tensor([place for place, text in enumerate(read) for _ in text.ids], dtype=torch.long)

    def answer(places: list[int]) -> Tensor:
        batch = pad([windows[place] for place in places], tokenizer)
        with torch.inference_mode():
            found = model(**{key: tensor.to(model.device) for key, tensor in batch.items()})
            return found.logits.float().cpu()

    # The longest first: in the end no core works on a long one while the others are idle.
    order = reversed(batches([len(ids) for ids in windows], batch_tokens))
    answers = [(places, pool.submit(answer, places)) for places in order]
    return _Asked(len(texts), sum(text.unread > 0 for text in read), document, answers)


def _end(asked: _Asked, labels: int, advance: Callable[[int], object]) -> Answered:
    logits = torch.zeros(len(asked.document), labels)
    first = torch.ones(len(asked.document), dtype=torch.bool)
    first[1:] = asked.document[1:] != asked.document[:-1]
    for places, answer in asked.answers:
        logits[places] = answer.result()
        advance(int(first[places].sum()))
    return Answered(log_mean_exp(logits, asked.document, asked.texts), asked.cut_off)
