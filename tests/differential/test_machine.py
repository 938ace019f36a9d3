"""Every engine answers as memory does, whatever it is asked, and the comparison notices one that does not.

A failure prints the shortest program that shows it. To see it again run the same test, which always tries the same
examples; after `make test-long`, run that with the seed that it printed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from application.store import Store
from infrastructure.persistence.memory import MemoryStore
from tests.differential.faults import FAULTS
from tests.differential.machine import Differential
from tests.differential.sides import Different
from tests.support.profiles import SHORT_ON_A_STORE

ENOUGH = settings(
    SHORT_ON_A_STORE,
    max_examples=70,
    stateful_step_count=40,
    derandomize=False,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
"""To find each of the faults. Which examples these are the seed says, and so it is the same in every run."""
SEED = 3


def compare_memory_with(
    fresh: Callable[[], Awaitable[Store]], loop: asyncio.AbstractEventLoop, effort: settings, *, seeded: bool = False
) -> None:
    def machine() -> Differential:
        return Differential(loop, fresh)

    run_state_machine_as_test(  # it takes functions too
        seed(SEED)(machine) if seeded else machine,  # type: ignore[arg-type]
        settings=effort,
    )


def test_an_engine_answers_as_memory_does(
    fresh: Callable[[], Awaitable[Store]], loop: asyncio.AbstractEventLoop, effort: settings
) -> None:
    compare_memory_with(fresh, loop, effort)


def test_memory_answers_as_memory_does(loop: asyncio.AbstractEventLoop) -> None:
    async def sound() -> Store:
        return MemoryStore()

    compare_memory_with(sound, loop, ENOUGH, seeded=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, loop: asyncio.AbstractEventLoop) -> None:
    async def faulty() -> Store:
        store = MemoryStore()
        FAULTS[fault](store)
        return store

    with pytest.raises(Different):
        compare_memory_with(faulty, loop, ENOUGH, seeded=True)
