"""What a soak measures every few seconds: the server's processes, and the store as its engine sees it."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from bench.soak.verdict import Sample
from tests.support import servers

SECONDS_OPEN = 6
"""A transaction that is open for longer has been left open: a request ends after 4.5 s."""
Measure = Callable[[], Awaitable[Sample]]
"""Returns what the engine says of the store. Its figures have the names that `verdict.LIMITS` has."""
Measuring = AbstractAsyncContextManager[Measure]


def processes(parent: psutil.Process) -> Sample:
    """Return the memory, in MB, and the open files of the server's processes that serve.

    With several workers these are the workers. The parent is left out, since it only waits.
    """
    serving = parent.children(recursive=True) or [parent]
    figures: Sample = {}
    for number, one in enumerate(sorted(serving, key=lambda one: one.pid), 1):
        figures[f"resident memory of process {number}, MB"] = one.memory_info().rss / 1e6
        figures[f"open files of process {number}"] = one.num_fds()
    return figures


# Memory: the store is in the process, and its size in the process's memory


@contextmanager
def memory(folder: Path) -> Iterator[str]:
    yield "memory://"


@asynccontextmanager
async def measure_memory(url: str) -> AsyncIterator[Measure]:
    async def measure() -> Sample:
        return {}

    yield measure


# SQLite


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'soak.db'}"


@asynccontextmanager
async def measure_sqlite(url: str) -> AsyncIterator[Measure]:
    """The pages in use are counted without those that a purge has freed, which the file keeps for later.

    The log (WAL) would grow for as long as a transaction, also one that only reads, stays open.
    """
    path = Path(url.removeprefix("sqlite:///"))

    async def measure() -> Sample:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            rows = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in EXPIRING}
        log = path.with_name(f"{path.name}-wal")
        return {
            "size of the store, MB": (pages - free) * size / 1e6,
            "size of the log, MB": log.stat().st_size / 1e6 if log.exists() else 0.0,
            "records that expire": sum(rows.values()),
        }

    yield measure


EXPIRING = "idempotency_keys", "sessions", "session_tokens", "login_attempts"

# PostgreSQL


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    with servers.postgres("fsync=on") as server:
        yield server.url


@asynccontextmanager
async def measure_postgresql(url: str) -> AsyncIterator[Measure]:
    connection = await asyncpg.connect(url)

    async def measure() -> Sample:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        others += " AND backend_type = 'client backend'"
        left = f"SELECT count(*) {others} AND now() - xact_start > interval '{SECONDS_OPEN} seconds'"
        # Not pg_database_size(): the catalogue of 10 MB would hide what the tables do.
        size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        size += " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        rows = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in EXPIRING]
        return {
            "connections to the store": float(await connection.fetchval(f"SELECT count(*) {others}")),
            "transactions left open": float(await connection.fetchval(left)),
            "size of the store, MB": float(await connection.fetchval(size)) / 1e6,
            "records that expire": sum(rows),
        }

    try:
        yield measure
    finally:
        await connection.close()


# MongoDB


@contextmanager
def mongodb(folder: Path) -> Iterator[str]:
    with servers.mongodb() as server:
        address, _, options = server.url.partition("?")
        yield f"{address}soak?{options}"


@asynccontextmanager
async def measure_mongodb(url: str) -> AsyncIterator[Measure]:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(url, maxPoolSize=1) as client:
        database: AsyncDatabase[dict[str, Any]] = client.get_default_database()

        async def measure() -> Sample:
            status = await client.admin.command("serverStatus")
            open_for = {"transaction.timeOpenMicros": {"$gt": SECONDS_OPEN * 1_000_000}}
            pipeline: list[dict[str, Any]] = [
                {"$currentOp": {"allUsers": True, "idleSessions": True}},
                {"$match": open_for},
            ]
            left: list[dict[str, Any]] = await (await client.admin.aggregate(pipeline)).to_list()
            size = await database.command("dbStats")
            rows = [await database[name].count_documents({}) for name in ("keys", "sessions", "tokens", "attempts")]
            return {
                "connections to the store": float(status["connections"]["current"]),
                "transactions left open": float(len(left)),
                "size of the store, MB": (size["dataSize"] + size["indexSize"]) / 1e6,
                "records that expire": sum(rows),
            }

        yield measure


ENGINES: dict[str, tuple[Callable[[Path], AbstractContextManager[str]], Callable[[str], Measuring]]] = {
    "memory": (memory, measure_memory),
    "sqlite": (sqlite, measure_sqlite),
    "postgresql": (postgresql, measure_postgresql),
    "mongodb": (mongodb, measure_mongodb),
}
"""For each engine, what starts it and yields its URL, and what measures the store at that URL."""
