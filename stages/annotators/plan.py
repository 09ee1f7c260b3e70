"""What annotating would send and cost, without sending anything."""

from stages.annotators.openai import Texts, seed_store
from stages.annotators.params import AnnotateParams
from stages.annotators.prompt import Prompt
from stages.extraction.tokens import cut
from stages.llm.answers import read_answer
from stages.llm.budget import Prices
from stages.llm.chat import answer_key
from stages.runtime.settings import RuntimeSettings
from stages.store import Store


def plan(texts: Texts, prompt: Prompt, params: AnnotateParams, runtime: RuntimeSettings) -> str:
    """Count what is new, and the tokens and the money it would take; a question is counted once.

    Tokens in are counted with a local tokenizer, so about; tokens out are expected as in the answers there are.
    """
    seed_store()
    store, prices = Store("answers"), Prices(runtime.price_input_usd, runtime.price_output_usd)
    documents, new, tokens_in, answered, tokens_out = 0, 0, 0, 0, 0
    counted = set[str]()
    for _, whole in texts:
        documents += 1
        text, tokens = cut(whole, params.max_tokens)
        body = prompt.body(text, [])
        for vote in range(params.openai.votes):
            key = answer_key(params.openai.base_url, body, vote)
            if key in counted:
                continue
            counted.add(key)
            stored = store.get(key)
            if stored is None:
                new += 1
                tokens_in += prompt.tokens + tokens
            else:
                answered += 1
                tokens_out += read_answer(stored.decode()).completion_tokens or 0
    most_out = new * params.openai.max_completion_tokens
    lines = [
        f"{documents:,} documents, {params.openai.votes} times each; {params.openai.model} at {params.openai.base_url}",
        f"in the store  {answered:,} answers",
        f"to ask for    {new:,} answers",
        f"tokens in     about {tokens_in:,} (counted with another tokenizer)",
    ]
    if answered:
        likely_out = round(new * tokens_out / answered)
        lines += [
            f"tokens out    about {likely_out:,} (as in the answers there are), at most {most_out:,}",
            f"cost          about ${prices.cost(tokens_in, likely_out):.2f}, "
            f"at most ${prices.cost(tokens_in, most_out):.2f}",
        ]
    else:
        lines += [
            f"tokens out    at most {most_out:,} (annotate.openai.max_completion_tokens)",
            f"cost          at most ${prices.cost(tokens_in, most_out):.2f}",
        ]
    lines.append(
        f"              (${runtime.price_input_usd:g} in and ${runtime.price_output_usd:g} out a million tokens: "
        f"runtime.price_*; the cap of a run is ${runtime.max_cost_usd:g}: runtime.max_cost_usd)"
    )
    return "\n".join(lines)
