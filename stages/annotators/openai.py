"""The annotator `openai`: a language model behind any endpoint that speaks OpenAI's chat completions."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import polars as pl

from stages.annotators.labelled import Labelled, Votes
from stages.annotators.params import AnnotateParams
from stages.annotators.prompt import Prompt, make_prompt
from stages.annotators.replies import Reply, read_reply
from stages.classes.names import normal
from stages.corpus.csvs import some
from stages.corpus.tables import RESPONSES, read_texts
from stages.extraction.tokens import cut
from stages.llm.budget import Budget, OutOfBudgetError, Prices
from stages.llm.chat import Chat, StoppedError, UnansweredError
from stages.llm.throttle import Throttle
from stages.runtime.errors import UserError
from stages.runtime.lock import alone_with
from stages.runtime.progress import progress_bar
from stages.runtime.settings import RuntimeSettings
from stages.store import Store
from stages.store.last_output import last_output

log = logging.getLogger(__name__)

Texts = Iterator[tuple[str, str]]


def prepare(
    categories: pl.DataFrame, documents: pl.LazyFrame, examples: pl.DataFrame, params: AnnotateParams
) -> Prompt:
    """Return the prompt for these categories and examples.

    Args:
        categories: `category`, `description`; without rows the model makes categories up.
        documents: `document_id`, `text`, of the examples among others.
        examples: `document_id`, `category`.

    Raises:
        UserError: if an example has a category that is not in `categories`.
    """
    names: dict[str, str] = {normal(name): name for name in categories["category"]}
    if unknown := [name for name in examples["category"] if names and normal(name) not in names]:
        raise UserError(f"examples.csv: category {unknown[0]!r} is not in categories.csv")
    category_of: dict[str, str] = dict(examples.select("document_id", "category").iter_rows())
    texts = list(read_texts(documents, list(category_of)))
    if empty := [name for name, text in texts if not text]:
        log.warning("examples.csv: not shown, their documents have no text: %s", some(empty))
    shown = [
        (cut(text, params.openai.example_tokens)[0], names.get(normal(category_of[name]), category_of[name]))
        for name, text in texts
        if text
    ]
    described = [(str(name), str(text)) for name, text in categories.select("category", "description").iter_rows()]
    return make_prompt(described, shown, params.openai)


def seed_store() -> None:
    """Put the answers that the last run's output holds into the store, once for each output.

    So a colleague who has pulled it pays for new documents alone.
    """
    store = Store("answers")
    last = last_output(RESPONSES)
    if last is None:
        return
    seeded = store.key(seeded=f"{last.parent.name}{last.name}")
    if store.get(seeded) is None:
        for key, response in pl.read_parquet(last).select("key", "response").drop_nulls().iter_rows():
            if store.get(key) is None:
                store.put(key, response.encode())
        store.put(seeded, b"")


def api_key(variable: str) -> str:
    """Return the key that the environment variable holds, "" if none is named.

    Raises:
        UserError: if it is not set, or cannot be part of a request.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise UserError(
            f"annotate: no key: the environment variable {variable} is not set (`export {variable}=…`; "
            'runtime.api_key_env names another, "" is for an endpoint that wants none)'
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"annotate: the environment variable {variable} holds letters that no key has: set it anew")
    return key


def annotate(texts: Texts, total: int, prompt: Prompt, params: AnnotateParams, runtime: RuntimeSettings) -> Labelled:
    """Ask about each document, as far as the store has no answer yet.

    Args:
        texts: ids and texts of `total` documents.

    Raises:
        UserError: if something is to be asked and there is no key, if the endpoint refuses all, more than `max_failed`
            fail, or the cap is reached.
        KeyboardInterrupt: if interrupted, when the requests on their way have been answered.
    """
    seed_store()
    question = Store.key(base_url=params.openai.base_url.rstrip("/"), messages=prompt.messages, fields=prompt.fields)
    with alone_with(Store("answers").folder / question, "annotate: another process asks the same questions"):
        return asyncio.run(_ask_all(texts, total, prompt, params, runtime))


async def _ask_all(
    texts: Texts, total: int, prompt: Prompt, params: AnnotateParams, runtime: RuntimeSettings
) -> Labelled:
    prices = Prices(runtime.price_input_usd, runtime.price_output_usd)
    throttle = Throttle(runtime.requests_per_minute, runtime.tokens_per_minute)
    try:
        key, no_key = api_key(runtime.api_key_env), None
    except UserError as fault:  # which matters only where an answer is missing
        key, no_key = "", fault
    budget = Budget(runtime.max_cost_usd)
    chat = Chat(params.openai.base_url, key, runtime.request_timeout_s, throttle, budget, prices, no_key)
    labelled, ended = Labelled(), list[Exception | KeyboardInterrupt]()

    def end(why: Exception | KeyboardInterrupt) -> None:
        ended.append(why)
        chat.stop()

    async def work() -> None:
        for document_id, text in texts:
            if chat.stopped:
                return
            try:
                labelled.add(document_id, await _label(chat, prompt, text, params))
            except StoppedError:
                return
            except (OutOfBudgetError, UserError, OSError) as why:
                end(why)
                return
            if len(labelled.failed) > params.max_failed * total:
                too_many = UserError(
                    f"annotate: {len(labelled.failed)} of {total} documents failed, more than annotate.max_failed "
                    f"({params.max_failed:g}) allows: {labelled.failures()}. All answers are kept"
                )
                end(too_many)
                return
            bar.set_postfix_str(f"{chat.spent.prompt_tokens:,} tokens in, ${chat.budget.spent:.2f}", refresh=False)
            bar.update()

    async with chat, _interrupts(end):
        with progress_bar(total, "annotate") as bar:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(runtime.concurrency, total)):
                    group.create_task(work())
    log.info("annotate: %s", chat.summary())
    if not ended:
        if labelled.failed:
            log.warning(
                "annotate: %d documents failed: %s. `dvc repro -sf annotate` asks again where no answer came",
                len(labelled.failed),
                labelled.failures(),
            )
        return labelled
    if isinstance(ended[0], OutOfBudgetError):
        raise UserError(
            f"annotate: stopped before runtime.max_cost_usd (${runtime.max_cost_usd:g} a run) is passed: "
            f"{len(labelled.replies)} of {total} documents are answered, all answers are kept. The same command goes "
            "on with as much again; or raise the cap"
        )
    raise ended[0]


@asynccontextmanager
async def _interrupts(end: Callable[[KeyboardInterrupt], None]) -> AsyncIterator[None]:
    """End the run at the first Ctrl-C, so that what was paid for arrives; the second one ends it at once."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)  # asyncio's own: cancels all tasks, so that they end in good order
        log.info("annotate: interrupted: waiting for the requests on their way (once more: not waiting)")
        end(KeyboardInterrupt())

    with suppress(NotImplementedError, ValueError):  # Windows; not in the main thread
        loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        with suppress(NotImplementedError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def _label(chat: Chat, prompt: Prompt, text: str, params: AnnotateParams) -> Votes:
    """Ask about a document, once for each vote; an answer that cannot be read is sent back `repairs` times."""
    text, tokens = cut(text, params.max_tokens)
    votes = Votes()
    for vote in range(params.openai.votes):
        said: list[str] = []
        try:
            while True:
                key, answer = await chat.ask(prompt.body(text, said), vote, prompt.tokens + tokens)
                votes.answers.append((key, answer))
                reply = read_reply(answer, prompt.categories)
                if reply.kind != "invalid" or len(said) == params.openai.repairs:
                    break
                said.append(answer.content)
        except UnansweredError as why:
            reply = Reply(error=str(why))
        votes.replies.append(reply)
    return votes
