"""Money: the cap holds in every order of events, and nobody waits for what cannot come."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.llm.budget import Budget, OutOfBudgetError, Prices


def test_a_price_is_for_a_million_tokens() -> None:
    assert Prices(0.25, 2.0).cost(2_000_000, 500_000) == 1.5


# What a request costs at most, the share of that which it does cost, and how many turns of the loop it takes.
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.2, 0.3, 0.7]) | st.floats(0.001, 2),
        st.sampled_from([0.0, 0.1, 1.0]) | st.floats(0, 1),
        st.integers(0, 5),
    ),
    max_size=20,
)


@given(cap=st.sampled_from([0.3, 1.0]) | st.floats(0.01, 3), requests=REQUESTS, at_once=st.integers(1, 8))
def test_in_every_order_the_cap_holds_and_all_end(
    cap: float, requests: list[tuple[float, float, int]], at_once: int
) -> None:
    budget = Budget(cap)
    waiting = iter(requests)

    def check() -> None:
        assert budget.spent + budget.reserved <= cap * (1 + 1e-12)
        assert budget.reserved >= 0

    async def work() -> None:
        for most, share, turns in waiting:
            try:
                await budget.reserve(most)
            except OutOfBudgetError:
                # No other request is on its way whose money could come back.
                assert budget.spent + most > cap * (1 - 1e-12)
                continue
            check()
            for _ in range(turns):
                await asyncio.sleep(0)
            await budget.settle(most, most * share)
            check()

    async def run() -> None:
        workers = [asyncio.create_task(work()) for _ in range(at_once)]
        for _ in range(1000):
            await asyncio.sleep(0)
        stuck = [worker for worker in workers if not worker.done()]
        for worker in stuck:
            worker.cancel()
        await asyncio.gather(*(worker for worker in workers if worker not in stuck))
        assert stuck == [], "waits although no request is on its way"

    asyncio.run(run())
    assert budget.reserved == pytest.approx(0, abs=1e-12)


def test_a_request_waits_for_money_that_another_may_give_back() -> None:
    async def run() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.9)
        second = asyncio.create_task(budget.reserve(0.5))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        await budget.settle(0.9, 0.1)
        await second
        assert (budget.spent, budget.reserved) == (0.1, 0.5)

    asyncio.run(run())


def test_with_none_on_their_way_too_little_is_too_little() -> None:
    async def run() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.9)
        second = asyncio.create_task(budget.reserve(0.5))
        await budget.settle(0.9, 0.6)
        with pytest.raises(OutOfBudgetError):
            await second
        with pytest.raises(OutOfBudgetError):
            await budget.reserve(0.5)
        await budget.reserve(0.3)

    asyncio.run(run())


def test_a_run_that_costs_nothing_has_no_end() -> None:
    async def run() -> None:
        budget = Budget(0.01)
        for _ in range(100):
            await budget.reserve(0.0)
        assert budget.spent == 0

    asyncio.run(run())
