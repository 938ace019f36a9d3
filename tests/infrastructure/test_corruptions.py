"""Corruptions of real databases, made past the store: each is found, and legal states are not."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
from pymongo import AsyncMongoClient

from application.store import Store
from application.streaming import Record, identity
from application.use_cases import check_store
from application.use_cases.check_store import CheckStore, Diagnosis
from infrastructure.container import open_store
from infrastructure.persistence.beanie.stream import MAPPINGS as DOCUMENTS
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.engines import sqlite
from infrastructure.persistence.sqlalchemy.stream import MAPPINGS as TABLES
from interfaces.certification.database import Database
from interfaces.testing.builders import a_user, an_item
from interfaces.testing.clock_and_ids import SetClock
from tests.support import engines
from tests.support.clients.traffic import Traffic
from tests.support.corruptions import CORRUPTIONS, LEGAL, problems_in, write_world
from tests.support.engines import RunningEngines, settings_for

LASTING = [name for name in engines.selected() if name in {"sqlite", "postgresql", "mongodb"}]
Mongo = AsyncMongoClient[dict[str, Any]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_store, "PAUSE", 0.01)


@dataclass
class SqlEditor:
    """Writes with a store whose connections check nothing, and removes and spoils with statements."""

    store: Store
    unchecked: SqlStore
    execute: Callable[[str], Awaitable[Any]]
    literal: Callable[[UUID | bytes], str]

    async def write(self, record: Record) -> None:
        await self.unchecked.stream.write([record])

    async def remove(self, record: Record) -> None:
        await self.execute(f"DELETE FROM {self._row_of(record)}")

    async def set(self, record: Record, field: str, value: Any) -> None:
        table, _, row = self._row_of(record).partition(" ")
        await self.execute(f"UPDATE {table} SET {field} = '{value}' {row}")

    def _row_of(self, record: Record) -> str:
        table = TABLES[type(record)].table
        [key] = table.primary_key.columns
        return f"{table.name} WHERE {key.name} = {self.literal(cast(UUID | bytes, identity(record)))}"


@asynccontextmanager
async def sqlite_editor(database: Database) -> AsyncIterator[SqlEditor]:
    """SQLite checks foreign keys and conditions only on connections that ask for it."""
    unchecked = SqlStore(database.settings)
    sqlite.set_pragmas(unchecked.database.writers.engine, {"foreign_keys": "OFF", "ignore_check_constraints": "ON"})
    file = database.settings.sqlite_file
    assert file
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")

    async def execute(sql: str) -> None:
        connection.execute(sql)

    def literal(id: UUID | bytes) -> str:
        return f"'{id.hex}'" if isinstance(id, UUID) else f"x'{id.hex()}'"

    try:
        yield SqlEditor(database.store, unchecked, execute, literal)
    finally:
        connection.close()
        await unchecked.close()


@asynccontextmanager
async def postgresql_editor(database: Database) -> AsyncIterator[SqlEditor]:
    """Without conditions; a session that is a replica checks no foreign keys."""
    url = database.settings.database_url
    unchecked = SqlStore(settings_for(f"{url}?session_replication_role=replica"))
    connection = await asyncpg.connect(url, server_settings={"session_replication_role": "replica"})
    conditions = "SELECT conrelid::regclass AS table, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    for row in await connection.fetch(conditions):
        await connection.execute(f"ALTER TABLE {row['table']} DROP CONSTRAINT {row['conname']}")

    def literal(id: UUID | bytes) -> str:
        return f"'{id}'" if isinstance(id, UUID) else rf"'\x{id.hex()}'"

    try:
        yield SqlEditor(database.store, unchecked, connection.execute, literal)
    finally:
        await connection.close()
        await unchecked.close()


@dataclass
class MongoEditor:
    """MongoDB checks next to nothing."""

    store: Store
    client: Mongo

    async def write(self, record: Record) -> None:
        await self.store.stream.write([record])

    async def remove(self, record: Record) -> None:
        await self._collection(record).delete_one(self._id(record))

    async def set(self, record: Record, field: str, value: Any) -> None:
        await self._collection(record).update_one(self._id(record), {"$set": {field: value}})

    def _collection(self, record: Record) -> Any:
        return self.client.get_default_database()[DOCUMENTS[type(record)].document.get_collection_name()]

    def _id(self, record: Record) -> dict[str, Any]:
        return {"_id": identity(record)}


@asynccontextmanager
async def mongodb_editor(database: Database) -> AsyncIterator[MongoEditor]:
    client: Mongo
    async with AsyncMongoClient(database.settings.database_url, uuidRepresentation="standard") as client:
        yield MongoEditor(database.store, client)


EDITORS = {"sqlite": sqlite_editor, "postgresql": postgresql_editor, "mongodb": mongodb_editor}


@pytest.fixture(scope="module")
async def editors(running_engines: RunningEngines) -> AsyncIterator[dict[str, tuple[Database, Any]]]:
    """A database of their own for these tests, per engine."""
    async with AsyncExitStack() as ends:
        made = {}
        for name in LASTING:
            new_database, _ = await running_engines.get(name)
            database = await ends.enter_async_context(new_database())
            await database.store.upgrade()
            made[name] = database, await ends.enter_async_context(EDITORS[name](database))
        yield made


async def check(store: Store) -> Diagnosis:
    diagnosis = await CheckStore(store, SetClock())()
    diagnosis.findings = [finding for finding in diagnosis.findings if finding.kind != "setting"]
    return diagnosis


LEGAL_CASES = [(engine, name) for engine in LASTING for name, one in LEGAL.items() if engine in one.engines]
CASES = [(engine, name) for engine in LASTING for name, one in CORRUPTIONS.items() if engine in one.engines]


@pytest.mark.parametrize(("engine", "name"), CASES)
async def test_a_corruption_is_found(engine: str, name: str, editors: dict[str, tuple[Database, Any]]) -> None:
    database, editor = editors[engine]
    try:
        world = await write_world(editor.store)
        await CORRUPTIONS[name].spoil(editor, world)
        assert problems_in(await check(editor.store), world) == sorted(CORRUPTIONS[name].problems)
    finally:
        await database.empty()


@pytest.mark.parametrize(("engine", "name"), LEGAL_CASES)
async def test_a_legal_state_is_no_finding(engine: str, name: str, editors: dict[str, tuple[Database, Any]]) -> None:
    database, editor = editors[engine]
    try:
        world = await write_world(editor.store)
        await LEGAL[name].change(editor, world)
        diagnosis = await check(editor.store)
        assert diagnosis.findings == []
        assert sum(diagnosis.checked.values()) >= 8
    finally:
        await database.empty()


async def check_elsewhere(database: Database) -> Diagnosis:
    """With another store, so that it can run in another thread: SQLite reads without leaving the event loop."""
    store = open_store(database.settings)
    await store.open()
    try:
        return await check(store)
    finally:
        await store.close()


@pytest.mark.parametrize("engine", LASTING)
async def test_no_false_alarm_while_the_store_is_used(
    engine: str, editors: dict[str, tuple[Database, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", 7)
    database, _ = editors[engine]
    store = database.store
    users = [a_user() for _ in range(4)]
    items = [an_item(users[0]) for _ in range(5)]
    await store.stream.write(users)
    await store.stream.write(items)
    traffic = Traffic(store, users, items)
    working = [asyncio.ensure_future(work()) for work in (traffic.transfer_and_change, traffic.come_and_go)]
    try:
        while traffic.changes < 100:
            diagnosis = await asyncio.to_thread(asyncio.run, check_elsewhere(database))
            assert diagnosis.findings == []
    finally:
        traffic.stopped = True
        await asyncio.gather(*working)
        await database.empty()


def test_the_corruptions_are_many() -> None:
    for engine in ("memory", *EDITORS):
        assert sum(engine in one.engines for one in CORRUPTIONS.values()) >= 35
