"""Concurrent transfers and reads over HTTP take effect one after another, as the versions in their answers say."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from application.store import Store
from infrastructure.container import build_container
from interfaces.certification.concurrency.checking import contended, violations
from interfaces.certification.concurrency.recording import Workload
from interfaces.certification.database import Database
from interfaces.http.app import attach_container, create_app

SHORT = {"seed1": partial(Workload, clients=8, operations=15, items=3, seed=1)}
LONG = {f"seed{seed}": partial(Workload, clients=16, operations=300, items=5, seed=seed) for seed in (1, 2, 3)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With the option --concurrency of the certification's plugin, record for minutes."""
    workloads = LONG if metafunc.config.getoption("concurrency", default=False) else SHORT
    metafunc.parametrize("workload", workloads.values(), ids=workloads)


@asynccontextmanager
async def served(database: Database, store: Store) -> AsyncIterator[AsyncClient]:
    container = build_container(database.settings)
    container.store.override(providers.Object(store))
    app = create_app(container)
    attach_container(app, container)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://handover.test", timeout=60) as http:
        yield http


@asynccontextmanager
async def servers(database: Database) -> AsyncIterator[list[AsyncClient]]:
    """Two applications on stores of their own, or one if an engine may be opened only once in a process."""
    async with AsyncExitStack() as ends:
        stores = [database.store]
        if database.store.capabilities.processes == "any":
            other = database.adapter(database.settings)
            await other.open()
            ends.push_async_callback(other.close)
            stores.append(other)
        yield [await ends.enter_async_context(served(database, store)) for store in stores]


async def test_what_clients_see_can_have_happened_one_after_another(
    workload: Callable[..., Workload], database: Database
) -> None:
    async with servers(database) as https:
        histories = await workload(https).run()
    assert [text for history in histories for text in violations(history)] == []
    operations = [one for history in histories for one in history.operations]
    assert any(one.kind == "transfer" and one.outcome == "done" for one in operations)
    assert sum(contended(history.operations) for history in histories) / len(histories) >= 0.5
