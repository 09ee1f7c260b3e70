"""A person's way through the documents: what comes next, what was decided, and taking it back.

What is decided stands in the file and nowhere else: a document with a row is done. So nothing is lost when the page or
the server ends, and a row that someone writes by hand meanwhile counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stages.reviewing.table import ChangedMeanwhileError, HandTable
from stages.runtime.errors import UserError

State = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """A document to decide about; where it is labelled blind, nobody's opinion of it is known here.

    Attributes:
        text: what the model read of it, without the title.
        given: the label it has.
        suggested: the class that the model takes it for, with probability `confidence` (0 to 1).
        suspect: whether the label is doubted, rather than the model unsure.
    """

    document_id: str
    title: str
    text: str
    given: str | None = None
    suggested: str | None = None
    confidence: float | None = None
    suspect: bool = False


@dataclass(frozen=True)
class Step:
    """A decision made here; without a label, the document was skipped."""

    document_id: str
    label: str | None


class Session:
    """One person's review, from start to end of the server."""

    def __init__(self, items: Sequence[Item], table: HandTable, labels: Sequence[str]) -> None:
        """Begin.

        Args:
            items: in the order in which they are shown.
            table: where decisions go.
            labels: those that can be given.
        """
        self.items, self.table, self.labels = items, table, labels
        self.steps: list[Step] = []

    def state(self, message: str = "", refused: bool = False) -> State:
        """Return the next item, how far the review is, and `message` on what has just happened.

        Args:
            refused: what was asked for has not been done.
        """
        decided, skipped = self.table.read(), self._skipped()
        pending = [item for item in self.items if item.document_id not in decided and item.document_id not in skipped]
        return {
            "item": asdict(pending[0]) if pending else None,
            "decided": sum(item.document_id in decided for item in self.items),
            "skipped": len(skipped - decided.keys()),
            "total": len(self.items),
            "can_undo": bool(self.steps),
            "message": message,
            "refused": refused,
        }

    def decide(self, document: str, label: str) -> State:
        """Write the decision about the item that is shown and return the next state.

        The label that a document has already is written, too: it says that a person has checked it.

        Raises:
            UserError: if there is no such label, or the file cannot be read.
        """
        if label not in self.labels:
            raise UserError(f"{label!r} is none of the classes that can be given")
        if refusal := self._refusal(document):
            return refusal
        try:
            self.table.change(document, None, label)
        except ChangedMeanwhileError as fault:
            return self._decided_meanwhile(document, str(fault.found))
        self.steps.append(Step(document, label))
        return self.state(f"{label}: {document}")

    def skip(self, document: str) -> State:
        """Leave the item that is shown for another time and return the next state."""
        if refusal := self._refusal(document):
            return refusal
        self.steps.append(Step(document, None))
        return self.state(f"Skipped: {document}")

    def undo(self) -> State:
        """Take the last step back, so that its item is shown again, and return the state."""
        if not self.steps:
            return self.state("There is nothing to undo", refused=True)
        step = self.steps[-1]
        if step.label is not None:
            try:
                self.table.change(step.document_id, step.label, None)
            except ChangedMeanwhileError:
                self.steps.pop()
                return self.state(f"{step.document_id} was changed by hand meanwhile: left as it is", refused=True)
        self.steps.pop()
        return self.state(f"Undone: {step.document_id.rpartition('/')[2]}")

    def summary(self) -> str:
        """Say in a line what was decided here."""
        given = {item.document_id: item.given for item in self.items}
        made = [step for step in self.steps if step.label is not None]
        changed = sum(given[step.document_id] not in (None, step.label) for step in made)
        other = f" ({changed} with another label than before)" if any(given.values()) else ""
        return f"{len(made)} decided{other}: {self.table.path}"

    def _skipped(self) -> set[str]:
        return {step.document_id for step in self.steps if step.label is None}

    def _refusal(self, document: str) -> State | None:
        """Return the state if `document` is not the item that is shown: another page, or a hand, has been faster."""
        if (label := self.table.read().get(document)) is not None:
            return self._decided_meanwhile(document, label)
        now = self.state("Another document is shown by now (is this page open twice?): nothing was written", True)
        return None if now["item"] and now["item"]["document_id"] == document else now

    def _decided_meanwhile(self, document: str, label: str) -> State:
        return self.state(f"{self.table.path.name} has {label!r} for {document} already: left as it is", refused=True)
