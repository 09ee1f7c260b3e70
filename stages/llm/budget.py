"""Money: what a run may spend, what it has spent, and what requests on their way may still cost."""

import asyncio
from dataclasses import dataclass

MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens."""

    input: float
    output: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of a request and its answer in US dollars."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION


class OutOfBudgetError(Exception):
    """The next request could cost more than is left."""


class Budget:
    """A cap in US dollars that is never passed: what a request may cost at most is set aside before it is sent."""

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self.spent = 0.0
        self.reserved = 0.0
        self._on_their_way = 0
        self._settled = asyncio.Condition()

    async def reserve(self, most: float) -> None:
        """Set `most` aside, waiting for requests on their way while too little is left because of them.

        Raises:
            OutOfBudgetError: if too little is left without them, too.
        """
        async with self._settled:
            await self._settled.wait_for(lambda: self._fits(most) or not self._on_their_way)
            if not self._fits(most):
                raise OutOfBudgetError
            self.reserved += most
            self._on_their_way += 1

    async def settle(self, reserved: float, actual: float) -> None:
        """Replace what was set aside for a request by what it has cost."""
        async with self._settled:
            self._on_their_way -= 1
            # Sums of fractions do not come back to 0 by themselves.
            self.reserved = self.reserved - reserved if self._on_their_way else 0.0
            self.spent += actual
            self._settled.notify_all()

    def _fits(self, most: float) -> bool:
        return self.spent + self.reserved + most <= self.cap
