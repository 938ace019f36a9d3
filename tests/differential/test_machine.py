"""Every engine answers as memory does, whatever it is asked.

A failure prints the shortest program that shows it. The same run again: `pytest tests/differential -k 'machine and ENGINE'`.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from application.ports import Store
from tests.differential.machine import Differential


def test_an_engine_answers_as_memory_does(
    loop: asyncio.AbstractEventLoop, fresh: Callable[[], Awaitable[Store]], effort: settings
) -> None:
    run_state_machine_as_test(lambda: Differential(loop, fresh), settings=effort)
