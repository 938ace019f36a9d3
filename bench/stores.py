"""Stores for what is compared, on one engine: a server of their own, a database each, filled with the same stock."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from pymongo import AsyncMongoClient, MongoClient
from sqlalchemy import insert

from bench.stock import Stock
from infrastructure.persistence import beanie, sqlalchemy
from infrastructure.persistence.beanie.rows import document_of_item, document_of_user
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.engines.database import Database
from infrastructure.persistence.sqlalchemy.rows import row_from_item, row_from_user
from infrastructure.persistence.sqlalchemy.tables import items, users
from infrastructure.settings import Settings
from tests.support import servers

BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine with its server, if it has one."""

    name: str
    url: Callable[[str], str]
    """Of the database of this name."""
    process: psutil.Process | None


@contextmanager
def postgresql(folder: Path) -> Iterator[Engine]:
    """As it comes, so that a commit waits for the disk; more shared memory than by default, as on any real server."""
    with servers.postgres("fsync=on", "shared_buffers=1GB", "max_wal_size=4GB") as server:
        yield Engine("postgresql", lambda name: server.url.rpartition("/")[0] + f"/{name}", psutil.Process(server.pid))


@contextmanager
def sqlite(folder: Path) -> Iterator[Engine]:
    yield Engine("sqlite", lambda name: f"sqlite:///{folder / name}.db", None)


@contextmanager
def mongodb(folder: Path) -> Iterator[Engine]:
    with servers.mongodb() as server:
        address, _, options = server.url.partition("?")
        yield Engine("mongodb", lambda name: f"{address}{name}?{options}", psutil.Process(server.pid))


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "postgresql": postgresql,
    "sqlite": sqlite,
    "mongodb": mongodb,
}


async def fill_handover(engine: Engine, name: str, stock: Stock) -> None:
    await create(engine, name)
    settings = Settings(database_url=engine.url(name), _env_file=None)
    store = (beanie if engine.name == "mongodb" else sqlalchemy).open_store(settings)
    await store.open()
    await store.upgrade()
    if isinstance(store, SqlStore):
        await _fill_sql(store.database, stock)
    else:
        await _fill_mongodb(engine, name, stock)
    await store.close()
    await analyse(engine, name)


async def _fill_sql(database: Database, stock: Stock) -> None:
    pooled = await database.begin()
    connection: Any = pooled.connection
    rows = [(users, [*map(row_from_user, stock.users)]), (items, [*map(row_from_item, stock.items)])]
    for table, all_rows in rows:
        statement = database.compiled(insert(table))
        arguments = [statement.arguments(row) for row in all_rows]
        for start in range(0, len(arguments), BATCH):
            await connection.executemany(statement.sql, arguments[start : start + BATCH])
    await pooled.execute("COMMIT")
    pooled.release()


async def _fill_mongodb(engine: Engine, name: str, stock: Stock) -> None:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(engine.url(name), uuidRepresentation="standard") as client:
        await client[name]["users"].insert_many(
            [document_of_user(user).model_dump(by_alias=True) for user in stock.users]
        )
        for start in range(0, len(stock.items), BATCH):
            batch = stock.items[start : start + BATCH]
            documents = [document_of_item(item, stock.name_of(item)).model_dump(by_alias=True) for item in batch]
            await client[name]["items"].insert_many(documents)


async def fill_textbook(engine: Engine, name: str, stock: Stock) -> None:
    await create(engine, name)
    os.environ["BENCH_URL"] = engine.url(name)
    peer = import_module(f"bench.peers.textbook_{engine.name}")
    numbered = enumerate(stock.users, 1)
    await peer.fill(
        [
            {
                "id": n,
                "email": user.email,
                "username": user.username,
                "hashed_password": user.password_hash,
                "is_active": True,
            }
            for n, user in numbered
        ],
        [
            {
                "id": number,
                "name": item.name,
                "description": item.description,
                "price": float(item.price),
                "owner_id": stock.rank[item.owner_id] + 1,
            }
            for number, item in enumerate(stock.items, 1)
        ],
    )
    await analyse(engine, name)


async def fill_floor(engine: Engine, name: str, handover: str) -> None:
    """The floor has Handover's tables."""
    if engine.name == "postgresql":
        await create(engine, name, template=handover)
        await analyse(engine, name)
    elif engine.name == "sqlite":
        source, target = (engine.url(it).removeprefix("sqlite:///") for it in (handover, name))
        shutil.copy(source, target)
    else:
        client: MongoClient[dict[str, Any]]
        with MongoClient(engine.url(name)) as client:
            for collection in client[handover].list_collection_names():
                client[handover][collection].aggregate([{"$out": {"db": name, "coll": collection}}])
                for index, facts in client[handover][collection].index_information().items():
                    if index != "_id_":
                        unique = facts.get("unique", False)
                        client[name][collection].create_index(facts["key"], name=index, unique=unique)


async def create(engine: Engine, name: str, template: str = "template0") -> None:
    if engine.name == "postgresql":
        async with _connected(engine, "postgres") as connection:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


async def analyse(engine: Engine, name: str) -> None:
    """What a server does by itself after a while; here it would do so in the middle of the measurement."""
    if engine.name == "postgresql":
        async with _connected(engine, name) as connection:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")


@asynccontextmanager
async def _connected(engine: Engine, name: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(engine.url(name))
    try:
        yield connection
    finally:
        await connection.close()
