"""A process that kills itself at a point of a use case, and the stores on which that is tried."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.store import Store
from infrastructure.persistence import sqlmodel
from infrastructure.persistence.sqlalchemy.store import SqlStore, SqlUnitOfWork
from interfaces.certification.database import OpenStore
from tests.faults.crash_points.driver_calls import Observer, Point, kill, observable_drivers, observing
from tests.faults.crash_points.writes import grace, run
from tests.support import engines
from tests.support.engines import settings_for
from tests.support.served import Forked


class LockingStore(SqlStore):
    """PostgreSQL without optimistic transactions: each locks what it reads."""

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[SqlUnitOfWork]:
        async with super().begin() as uow:
            yield uow


STORES: dict[str, tuple[str, OpenStore]] = {
    "memory": ("memory", engines.memory_adapter),
    "sqlite": ("sqlite", engines.sqlalchemy_adapter),
    "postgresql": ("postgresql", engines.sqlalchemy_adapter),  # Transact begins with an optimistic transaction
    "postgresql-locking": ("postgresql", LockingStore),
    "sqlmodel-sqlite": ("sqlmodel-sqlite", sqlmodel.open_store),
    "sqlmodel-postgresql": ("sqlmodel-postgresql", sqlmodel.open_store),
    "mongodb": ("mongodb", engines.beanie_adapter),
}
"""The engine and the adapter of each store."""


@asynccontextmanager
async def opened(name: str, url: str) -> AsyncIterator[Store]:
    engine, adapter = STORES[name]
    store = adapter(settings_for(url, "sqlmodel" if "sqlmodel" in engine else ""))
    await store.open()
    try:
        async with store.begin() as uow:  # which opens the connection
            await uow.users.hold(grace.id)
        await store.users.find_by_login("nobody")
        yield store
    finally:
        await store.close()


async def observe(observer: Observer, write: str, with_key: bool, store: Store) -> None:
    with observing(observer):
        await run(write, with_key, store)


def _run_until_killed(name: str, url: str, write: str, with_key: bool, point: Point) -> None:
    async def run_until_killed() -> None:
        async with opened(name, url) as store:
            await observe(Observer(point, kill), write, with_key, store)

    with observable_drivers():
        asyncio.run(run_until_killed())


async def kill_at(point: Point, name: str, url: str, write: str, with_key: bool) -> int | None:
    """Run it in a process that kills itself at this point; return how the process has ended."""
    process = Forked.forks.Process(target=_run_until_killed, args=(name, url, write, with_key, point))
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.join, 60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode
