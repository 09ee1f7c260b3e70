"""What a language model is asked: instructions, examples, one document as data, and the form of the answer."""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from stages.annotators.params import OpenAIParams
from stages.extraction.tokens import cut
from stages.llm.chat import Body
from stages.runtime.errors import UserError

PROMPTS = Path("prompts")
REPAIR = 'That is not the JSON that was asked for. Answer with {"category": "..."} alone%s.'

Message = dict[str, str]


def fence(text: str) -> str:
    """Put `text` between two lines that it cannot contain: their code is a hash of it.

    Marks such as <|im_end|>, which some servers read as the end of a message wherever they stand, are broken.
    """
    text = text.replace("<|", "< |")
    code = hashlib.sha256(text.encode()).hexdigest()[:32]
    while code in text:
        code = hashlib.sha256(code.encode()).hexdigest()[:32]
    return f"<document {code}>\n{text}\n</document {code}>"


@dataclass(frozen=True)
class Prompt:
    """Everything that is the same for all documents.

    Args:
        messages: instructions and examples.
        categories: the answers allowed; none: the model makes one up.
        fields: of the request: model, limits and what else is set.
        tokens: of `messages`, about.
    """

    messages: list[Message]
    categories: list[str]
    fields: dict[str, Any]
    tokens: int

    def body(self, text: str, said: list[str]) -> Body:
        """Return the request for a document, after so many answers of the model that could not be read."""
        messages = [*self.messages, {"role": "user", "content": fence(text)}]
        for answer in said:
            allowed = f", one of {', '.join(self.categories)}" if self.categories else ""
            messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": REPAIR % allowed}]
        return {"messages": messages, "response_format": self._form(), **self.fields}

    def _form(self) -> dict[str, Any]:
        """Return the schema that the answer is held to (structured outputs)."""
        category: dict[str, Any] = {"type": "string"}
        if self.categories:
            category["enum"] = self.categories
        schema = {
            "type": "object",
            "properties": {"category": category},
            "required": ["category"],
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "annotation", "strict": True, "schema": schema}}


def make_prompt(
    categories: list[tuple[str, str]], examples: list[tuple[str, str]], params: OpenAIParams, folder: Path = PROMPTS
) -> Prompt:
    """Fill the template `closed.md`, or without categories `open.md`.

    Args:
        categories: names and descriptions.
        examples: texts and categories, shown as a conversation before the document.

    Raises:
        UserError: if the template is missing or does not say where the categories go.
    """
    file = folder / ("closed.md" if categories else "open.md")
    try:
        template = Template(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} is missing: `git checkout -- {file}` restores it") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no UTF-8 text: save it as UTF-8") from None
    wanted = {"categories"} if categories else set()
    if not template.is_valid() or set(template.get_identifiers()) != wanted:
        names = "$categories and no other" if wanted else "no"
        raise UserError(f"{file}: must hold {names} placeholder ($$ stands for a dollar sign)")
    described = "\n".join(f"- {name}: {text}" if text else f"- {name}" for name, text in categories)
    messages = [{"role": "system", "content": template.substitute(categories=described)}]
    for text, category in examples:
        messages += [
            {"role": "user", "content": fence(text)},
            {"role": "assistant", "content": json.dumps({"category": category}, ensure_ascii=False)},
        ]
    optional = {"temperature": params.temperature, "reasoning_effort": params.reasoning_effort}
    fields: dict[str, Any] = {
        "model": params.model,
        "max_completion_tokens": params.max_completion_tokens,
        # Models that reason refuse these, so that they are sent if set alone.
        **{name: value for name, value in optional.items() if value is not None},
        **({"logprobs": True} if params.logprobs else {}),
        **({"extra_body": params.extra} if params.extra else {}),
    }
    tokens = sum(cut(message["content"], sys.maxsize)[1] for message in messages)
    return Prompt(messages, [name for name, _ in categories], fields, tokens)
