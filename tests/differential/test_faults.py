"""The comparison with the in-memory adapter finds no difference in a sound adapter, and each planted fault."""

import asyncio

import pytest
from hypothesis import Phase, settings

from application.store import Store
from infrastructure.persistence.memory import MemoryStore
from interfaces.certification.comparison.effort import SHORT_ON_A_STORE
from interfaces.certification.comparison.machine import compare_with_memory
from interfaces.certification.comparison.use_cases import Difference
from tests.differential.faults import FAULTS

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


def test_memory_answers_as_memory_does(loop: asyncio.AbstractEventLoop) -> None:
    async def sound() -> Store:
        return MemoryStore()

    compare_with_memory(sound, loop, ENOUGH, SEED)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, loop: asyncio.AbstractEventLoop) -> None:
    async def faulty() -> Store:
        store = MemoryStore()
        FAULTS[fault](store)
        return store

    with pytest.raises(Difference):
        compare_with_memory(faulty, loop, ENOUGH, SEED)


@pytest.fixture
async def loop() -> asyncio.AbstractEventLoop:
    """The event loop of the stores, which does not run during a test that is not asynchronous."""
    return asyncio.get_running_loop()
