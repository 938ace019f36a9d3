"""The engine gives the same results as the in-memory engine for random operations.

A failure prints the shortest program that shows it. The same test always tries the same examples; after `make
test-long`, repeat it with the seed that it printed.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import settings

from application.store import Store
from interfaces.certification.comparison.machine import compare_with_memory


def test_random_operations_have_the_same_results_as_in_memory(
    fresh: Callable[[], Awaitable[Store]], loop: asyncio.AbstractEventLoop, effort: settings
) -> None:
    compare_with_memory(fresh, loop, effort)
