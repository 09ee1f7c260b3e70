"""What a language model said about each document: the annotators' table, the answers behind it, counts."""

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

from stages.annotators.replies import Reply, combine
from stages.llm.answers import Answer
from stages.store import Store

# Answers whose text is in memory twice while the table is made.
READ_AT_A_TIME = 500


@dataclass
class Votes:
    """The replies about one document, and the answers they were read from with their keys in the store."""

    replies: list[Reply] = field(default_factory=list)
    answers: list[tuple[str, Answer]] = field(default_factory=list)


class Labelled:
    """The replies about all documents so far; of the answers only the keys stay in memory."""

    def __init__(self) -> None:
        """Start with none."""
        self.replies: dict[str, Reply] = {}
        self.failed: list[str] = []
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._keys: dict[str, list[str]] = {}

    def add(self, document_id: str, votes: Votes) -> None:
        """Add the replies about a document."""
        reply = combine(votes.replies)
        self.replies[document_id] = reply
        if reply.error:
            self.failed.append(document_id)
        self._keys[document_id] = [key for key, _ in votes.answers]
        self.prompt_tokens += sum(answer.prompt_tokens or 0 for _, answer in votes.answers)
        self.completion_tokens += sum(answer.completion_tokens or 0 for _, answer in votes.answers)

    def failures(self) -> str:
        """Say how many documents failed for which kind of reason, and quote the first."""
        kinds = Counter(self.replies[document].kind for document in self.failed)
        first = self.failed[0]
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        return f"{counted}; the first: {first!r}: {self.replies[first].error}"

    def table(self) -> pl.DataFrame:
        """Return the annotators' table."""
        return pl.DataFrame(
            [
                (document, reply.category, reply.confidence, "failed" if reply.error else "ok", reply.error)
                for document, reply in self.replies.items()
            ],
            schema={
                "document_id": pl.String,
                "category": pl.String,
                "confidence": pl.Float64,
                "status": pl.String,
                "error": pl.String,
            },
            orient="row",
        )

    def responses(self) -> pl.DataFrame:
        """Return the answers that were used, as the endpoint gave them: `document_id`, `key`, `response`."""
        store = Store("answers")
        used = [(document, key) for document, keys in self._keys.items() for key in keys]
        table = pl.DataFrame(used, schema={"document_id": pl.String, "key": pl.String}, orient="row")

        def response(key: str) -> str | None:
            content = store.get(key)
            return None if content is None else content.decode()

        # Not all of them as objects of Python's beside the table.
        parts = [
            pl.Series("response", map(response, keys["key"]), pl.String) for keys in table.iter_slices(READ_AT_A_TIME)
        ]
        return table.with_columns(pl.concat([pl.Series("response", [], pl.String), *parts]))
