"""The engines that the contracts are tested on: how each is started, and how its store is emptied between tests.

What an engine needs is imported when it is started: the tests of the core run where none of it is installed.
"""
# ruff: noqa: PLC0415

import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from application.store import Store
from interfaces.certification.database import Database, NewDatabase, OpenStore, opened

if TYPE_CHECKING:
    from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True)
class Engine:
    """An adapter on a server: the server runs while `running(adapter)` is entered."""

    adapter: OpenStore
    running: Callable[[OpenStore], AbstractAsyncContextManager[NewDatabase]]


def settings_for(url: str, adapter: str = "", **others: Any) -> "Settings":
    """The adapter has to be named if the URL's scheme means another one."""
    from infrastructure.settings import Settings

    return Settings(database_url=url, persistence=adapter, _env_file=None, **others)


# Adapters, by their own names and not by the container's, so that mypy sees whether each is a Store.


def memory_adapter(settings: "Settings") -> Store:
    from infrastructure.persistence import memory

    return memory.open_store(settings)


def sqlalchemy_adapter(settings: "Settings") -> Store:
    from infrastructure.persistence import sqlalchemy

    return sqlalchemy.open_store(settings)


def optimistic_adapter(settings: "Settings") -> Store:
    """PostgreSQL with every unit of work optimistic.

    Only keys are claimed at once, as contracts expect it: test_optimistic.py is about those that are not.
    """
    from infrastructure.persistence.sqlalchemy.store import SqlStore, SqlUnitOfWork

    class OptimisticStore(SqlStore):
        @asynccontextmanager
        async def begin(self, *, optimistic: bool = True) -> AsyncIterator[SqlUnitOfWork]:
            async with super().begin(optimistic=True) as uow:
                claim = uow.keys.claim

                async def claim_at_once(*arguments: Any, **options: Any) -> bytes | None:
                    await uow.transaction.begin()
                    return await claim(*arguments, **options)

                uow.keys.claim = claim_at_once  # type: ignore[method-assign]
                yield uow

    return OptimisticStore(settings)


def sqlmodel_adapter(settings: "Settings") -> Store:
    from infrastructure.persistence import sqlmodel

    return sqlmodel.open_store(settings)


def beanie_adapter(settings: "Settings") -> Store:
    from infrastructure.persistence import beanie

    return beanie.open_store(settings)


def lmdb_adapter(settings: "Settings") -> Store:
    """Of the package in `examples`, which is installed in some tests alone."""
    from infrastructure.container import open_store

    return open_store(settings)


# Servers


@asynccontextmanager
async def memory(adapter: OpenStore) -> AsyncIterator[NewDatabase]:
    def new_database() -> AbstractAsyncContextManager[Database]:
        return opened(settings_for("memory://"), adapter, Database.reopen)

    yield new_database


@asynccontextmanager
async def sqlite(adapter: OpenStore, adapter_name: str = "") -> AsyncIterator[NewDatabase]:
    with TemporaryDirectory(prefix="handover-sqlite-") as folder:

        @asynccontextmanager
        async def new_database() -> AsyncIterator[Database]:
            async def empty(_: Database) -> None:
                with _transaction(file) as connection:
                    for (table,) in connection.execute(_SQLITE_TABLES).fetchall():
                        connection.execute(f'DELETE FROM "{table}"')

            file = Path(folder, _new_name())
            settings = settings_for(f"sqlite:///{file}", adapter_name)
            async with opened(settings, adapter, empty) as database:
                yield database

        yield new_database


@contextmanager
def _transaction(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file, isolation_level=None)  # which leaves foreign keys unchecked
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'alembic_version'"


@asynccontextmanager
async def postgresql(
    adapter: OpenStore, adapter_name: str = "", isolation: str | None = None
) -> AsyncIterator[NewDatabase]:
    import asyncpg

    from tests.support import servers

    with servers.postgres() as server:

        @asynccontextmanager
        async def new_database() -> AsyncIterator[Database]:
            async def empty(_: Database) -> None:
                """All in one statement, after which foreign keys are looked at; TRUNCATE takes fifty times as long."""
                tables = [row["tablename"] for row in await inside.fetch(_POSTGRESQL_TABLES)]
                deletions = (f'_{number} AS (DELETE FROM "{table}")' for number, table in enumerate(tables))
                await inside.execute(f"WITH {', '.join(deletions)} SELECT")

            name = _new_name()
            url = f"{server.url.rpartition('/')[0]}/{name}"
            settings = settings_for(url, adapter_name, isolation=isolation)
            outside = await asyncpg.connect(server.url)
            await outside.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            patience = {"lock_timeout": "5s"}  # with a unit of work that a test has left open
            inside = await asyncpg.connect(settings.database_url, server_settings=patience)
            try:
                async with opened(settings, adapter, empty) as database:
                    yield database
            finally:
                await inside.close()
                await outside.execute(f"DROP DATABASE {name} WITH (FORCE)")
                await outside.close()

        yield new_database


_POSTGRESQL_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"


@asynccontextmanager
async def mongodb(adapter: OpenStore) -> AsyncIterator[NewDatabase]:
    from pymongo import AsyncMongoClient

    from tests.support import servers

    with servers.mongodb() as server:

        @asynccontextmanager
        async def new_database() -> AsyncIterator[Database]:
            async def empty(_: Database) -> None:
                for collection in await client[name].list_collection_names(filter={"name": {"$ne": "schema"}}):
                    await client[name][collection].delete_many({})

            name = _new_name()
            address, _, options = server.url.partition("?")
            settings = settings_for(f"{address.rstrip('/')}/{name}?{options}")
            client: AsyncMongoClient[dict[str, Any]]
            async with AsyncMongoClient(server.url, uuidRepresentation="standard") as client:
                try:
                    async with opened(settings, adapter, empty) as database:
                        yield database
                finally:
                    await client.drop_database(name)

        yield new_database


@asynccontextmanager
async def lmdb(adapter: OpenStore) -> AsyncIterator[NewDatabase]:
    with TemporaryDirectory(prefix="handover-lmdb-") as folder:

        def new_database() -> AbstractAsyncContextManager[Database]:
            async def empty(database: Database) -> None:
                await database.store.downgrade()
                await database.store.upgrade()

            return opened(settings_for(f"lmdb:///{folder}/{_new_name()}"), adapter, empty)

        yield new_database


ENGINES = {
    "memory": Engine(memory_adapter, memory),
    "sqlite": Engine(sqlalchemy_adapter, sqlite),
    "postgresql": Engine(sqlalchemy_adapter, postgresql),
    "postgresql-optimistic": Engine(optimistic_adapter, postgresql),
    "sqlmodel-sqlite": Engine(sqlmodel_adapter, partial(sqlite, adapter_name="sqlmodel")),
    "sqlmodel-postgresql": Engine(sqlmodel_adapter, partial(postgresql, adapter_name="sqlmodel")),
    "mongodb": Engine(beanie_adapter, mongodb),
    "postgresql-serializable": Engine(sqlalchemy_adapter, partial(postgresql, isolation="SERIALIZABLE")),
}
ONLY_IF_NAMED = {"postgresql-serializable"}
"""Engines that are tested only if ENGINES names them."""

DIFFERENCES = {
    ("postgresql-serializable", "test_changes_of_different_items_are_all_kept"): (
        "SERIALIZABLE also finds conflicts where there are none: small tables are locked by pages, see "
        "https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE; the boundary runs one again"
    )
}
"""Tests that fail on an engine, and why that is right."""


def default() -> list[str]:
    """The engines that are tested unless the variable ENGINES names others."""
    return [name for name in ENGINES if name not in ONLY_IF_NAMED]


def selected() -> list[str]:
    """The engines that the variable ENGINES names, or else those of default()."""
    return os.environ.get("ENGINES", "").split() or default()


def selected_above_the_store() -> list[str]:
    """The engines that the variable ENGINES names, or else all with their default adapters."""
    named = os.environ.get("ENGINES", "").split()
    return named or [name for name in ENGINES if "-" not in name]


def refuse_unknown() -> None:
    if unknown := sorted(set(selected()) - set(ENGINES)):
        raise pytest.UsageError(f"ENGINES: no engine {', '.join(unknown)}; there are {', '.join(ENGINES)}")


class RunningEngines:
    """Engines that are started when they are first asked for, each with one database that the tests share."""

    def __init__(self) -> None:
        self._ends = AsyncExitStack()
        self._running: dict[str, tuple[NewDatabase, Database]] = {}

    async def get(self, name: str) -> tuple[NewDatabase, Database]:
        if name not in self._running:
            engine = ENGINES[name]
            try:
                new_database = await self._ends.enter_async_context(engine.running(engine.adapter))
                database = await self._ends.enter_async_context(new_database())
                await database.store.upgrade()
            except Exception as reason:  # whatever it is: the run has failed
                pytest.exit(f"The engine {name} cannot be started: {type(reason).__name__}: {reason}", returncode=1)
            self._running[name] = new_database, database
        return self._running[name]

    async def stop(self) -> None:
        await self._ends.aclose()


def _new_name() -> str:
    return f"handover_{secrets.token_hex(6)}"
