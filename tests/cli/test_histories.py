"""Transfers and reads of many clients on real servers: what they see can have happened one after another.

`make test-faults` does the same with 16 clients, 300 operations each, and three seeds.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from interfaces.certification.concurrency.checking import ItemHistory, contended, violations
from interfaces.certification.concurrency.recording import Workload
from interfaces.certification.database import NewDatabase
from tests.support import engines
from tests.support.served import Served, served

CLIENTS = 16
OPERATIONS = int(os.environ.get("OPERATIONS") or 20)
SEEDS = [int(seed) for seed in (os.environ.get("SEEDS") or "1").split()]
SERVERS = {"memory": 1, "sqlite": 2, "postgresql": 1, "postgresql-serializable": 1, "mongodb": 2}
WORKERS = {"postgresql": "2", "postgresql-serializable": "2"}
SELECTED = engines.selected_above_the_store()

on_each_engine = pytest.mark.parametrize("engine", SELECTED)
on_each_durable_engine = pytest.mark.parametrize("engine", [name for name in SELECTED if name != "memory"])
with_each_seed = pytest.mark.parametrize("seed", SEEDS)


@asynccontextmanager
async def running(engine: str, new_database: NewDatabase, folder: Path, number: int) -> AsyncIterator[list[Served]]:
    async with AsyncExitStack() as ends:
        database = await ends.enter_async_context(new_database())
        settings = {
            "DATABASE_URL": database.settings.database_url,
            "ISOLATION": database.settings.isolation or "",
            "SECRET_KEY": secrets.token_hex(32),
            "LOG_LEVEL": "warning",
            "WORKERS": WORKERS.get(engine, "1"),
        }
        folders = [folder / str(n) for n in range(number)]
        for one in folders:
            one.mkdir()
        yield [await ends.enter_async_context(served(one, **settings)) for one in folders]


@asynccontextmanager
async def workload(servers: list[Served], seed: int) -> AsyncIterator[Workload]:
    async with AsyncExitStack() as ends:
        https = [await ends.enter_async_context(server.client()) for server in servers]
        yield Workload(https, clients=CLIENTS, operations=OPERATIONS, seed=seed)


def check(histories: list[ItemHistory]) -> None:
    assert [text for history in histories for text in violations(history)] == []
    shares = [contended(history.operations) for history in histories]
    assert sum(shares) / len(shares) >= 0.5, "the run says nothing: too few transfers were contended"


@on_each_engine
@with_each_seed
async def test_what_clients_see_can_have_happened(
    engine: str, seed: int, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with running(engine, new_database, tmp_path, SERVERS[engine]) as servers, workload(servers, seed) as work:
        check(await work.run())


@on_each_durable_engine
@with_each_seed
async def test_what_clients_see_while_a_server_is_killed_can_have_happened(
    engine: str, seed: int, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with (
        running(engine, new_database, tmp_path, 2) as servers,
        workload(servers, seed) as work,
        asyncio.TaskGroup() as group,
    ):
        histories = group.create_task(work.run())
        while work.recorded < CLIENTS * OPERATIONS / 4:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        await servers[1].kill()
        check(await histories)
    assert work.recorded < CLIENTS * OPERATIONS
