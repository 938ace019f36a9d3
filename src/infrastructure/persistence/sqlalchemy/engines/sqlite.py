"""SQLite through aiosqlite: how to connect, how to end a connection, and what errors mean.

Readers and the writer have engines of their own: readers never wait, and a process has one writer, so that its units
of work queue here, where they can be cancelled, rather than in SQLite.

aiosqlite gives each connection a thread. To go there and back costs ten times what a brief statement does, so that
those run on the event loop: reads, BEGIN, and changes of one row, which are on disk no sooner than with COMMIT. What
has to wait for a lock, or turns out long, starts again in the thread; COMMIT and all other changes run there from the
beginning. A row that is not in memory is read from the file all the same, so keep the file on a disk of this machine.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
from sqlalchemy import AsyncAdaptedQueuePool, NullPool, event
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import UniqueConstraint

from application.errors import Busy, NoSpace, TryAgain, Unavailable
from infrastructure.cpu import CORES
from infrastructure.persistence.sqlalchemy.engines.database import Database, Pool, Work
from infrastructure.persistence.sqlalchemy.engines.errors import (
    SchemaMissing,
    Unexpected,
    driver_error,
    refusal,
    translated,
)
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.settings import Misconfigured, Settings

OLDEST = (3, 35)
"""The first version that knows RETURNING."""

PATIENCE = 5000
"""Milliseconds for a lock that another process has."""

PRAGMAS = {"busy_timeout": str(PATIENCE), "journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON"}
"""In this order: changing the journal mode may have to wait."""

BEGIN = "BEGIN IMMEDIATE"

LONG = 0.002
"""Seconds that a read may take on the event loop."""

STEPS = 500
"""Of SQLite's virtual machine, between two looks at the time: with none of the rows in memory, about twenty reads."""


def open_sqlite(settings: Settings) -> Database:
    if sqlite3.sqlite_version_info < OLDEST:
        raise Misconfigured(f"SQLite {'.'.join(map(str, OLDEST))} or newer is needed, not {sqlite3.sqlite_version}")
    path = path_in(settings.database_url)

    def pool(size: int, overflow: int) -> Pool:
        engine = engine_on(
            path,
            PRAGMAS,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=overflow,
            pool_reset_on_return=None,
        )
        return Pool(engine, asyncio.Semaphore(size + overflow), settings.pool_timeout)

    # More threads than cores are only in each other's way: with ten instead of two a page takes a fifth longer.
    readers = pool(min(settings.pool_size, max(2, CORES)), settings.pool_overflow)
    return Database(Aiosqlite(path), readers=readers, writers=pool(1, 0), pre_ping=False)


async def migrate(settings: Settings, work: Work) -> None:
    """In one transaction, and with foreign keys off, or what hangs on a table would go when that is rebuilt. SQLite
    does not listen to that pragma inside a transaction."""
    path = path_in(settings.database_url)
    engine = engine_on(path, PRAGMAS | {"foreign_keys": "OFF"}, poolclass=NullPool)
    try:
        with translated(Aiosqlite(path).meaning):
            async with engine.connect() as connection:
                await connection.exec_driver_sql(BEGIN)
                await connection.run_sync(work)  # whatever it raises, the end of the connection undoes it
                if (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first():
                    raise Unavailable(f"the SQLite file {path} would have rows that refer to nothing: left as it was")
                await connection.exec_driver_sql("COMMIT")
    except TryAgain as error:
        raise Busy(str(error)) from None


def engine_on(path: Path, pragmas: dict[str, str], **pooling: Any) -> AsyncEngine:
    engine = create_async_engine(
        "sqlite+handover://",
        async_creator=connector(path),
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        **pooling,
    )
    set_pragmas(engine, pragmas)
    return engine


def connector(path: Path) -> Callable[[], Awaitable[aiosqlite.Connection]]:
    file = path.absolute()  # whatever folder is the current one later, and never taken for a file: URI

    async def connect() -> aiosqlite.Connection:
        connection = aiosqlite.connect(file, check_same_thread=False)
        connection._thread.daemon = True
        opening = asyncio.ensure_future(connection)

        def close_unused(opened: asyncio.Future[aiosqlite.Connection]) -> None:
            if not opened.cancelled() and opened.exception() is None:
                connection.stop()

        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # aiosqlite would leave the file open: its thread cannot be interrupted, and nobody takes what it returns.
            opening.add_done_callback(close_unused)
            raise
        except sqlite3.Error:
            connection._thread.join(1)  # it has nothing left to do but to end, and would outlive the event loop
            raise

    return connect


def set_pragmas(engine: AsyncEngine, pragmas: dict[str, str]) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        try:
            for name, value in pragmas.items():
                cursor.execute(f"PRAGMA {name} = {value}")
        except BaseException:
            connection.close()  # the pool forgets it, and its thread would outlive the event loop
            raise
        cursor.close()


def path_in(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or Path(parts.path).name in {"", ":memory:"}:
        raise Misconfigured(
            "HANDOVER_DATABASE_URL: must be sqlite:///file or sqlite:////folder/file; in memory alone is memory://"
        )
    return Path(parts.path[1:])


class SqliteDialect(SQLiteDialect_aiosqlite):
    supports_statement_cache = True

    def do_terminate(self, dbapi_connection: DBAPIConnection) -> None:
        """Do not wait for the statement that its thread is in: once that has ended, the thread closes the connection,
        which undoes the transaction and gives the lock back."""
        dbapi_connection.driver_connection.stop()


UNIQUE = {
    ", ".join(f"{table.name}.{column.name}" for column in constraint.columns): str(constraint.name)
    for table in metadata.tables.values()
    for constraint in table.constraints
    if isinstance(constraint, UniqueConstraint)
}
"""The names of constraints by what SQLite says of them."""

BY_NAME: dict[str, tuple[type[Exception], str]] = {
    "SQLITE_BUSY": (TryAgain, "is locked by another process"),
    "SQLITE_LOCKED": (TryAgain, "is locked by another connection"),
    "SQLITE_CORRUPT": (Unavailable, "is damaged: bring back a copy of it"),
    "SQLITE_NOTADB": (Unavailable, "is not a SQLite database: name another in HANDOVER_DATABASE_URL"),
    "SQLITE_FULL": (NoSpace, "cannot grow: free some disk space"),
    "SQLITE_IOERR": (Unavailable, "cannot be read or written: look after its disk"),
    "SQLITE_READONLY": (Unavailable, "cannot be written: give this user the right to write to it and to its folder"),
    "SQLITE_PERM": (Unavailable, "cannot be opened: give this user the right to read and write it"),
    "SQLITE_AUTH": (Unavailable, "cannot be opened: give this user the right to read and write it"),
}


@dataclass(frozen=True, slots=True)
class Aiosqlite:
    path: Path
    begin: str = BEGIN
    names_columns: bool = False

    @property
    def place(self) -> str:
        return f"the SQLite file {self.path}"

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, brief: bool) -> Sequence[Any]:
        if brief:
            try:
                return at_once(connection._conn, sql, arguments)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in IN_THE_THREAD:
                    raise
        rows: Sequence[Any] = await connection.execute_fetchall(sql, arguments)
        return rows

    async def command(self, connection: Any, sql: str) -> None:
        await self.query(connection, sql, [], brief=sql == self.begin)

    def is_closed(self, connection: Any) -> bool:
        return False  # there is no other end that could close it

    def meaning(self, error: Exception) -> Exception:
        cause = driver_error(error)
        name = getattr(cause, "sqlite_errorname", "")
        if isinstance(cause, sqlite3.IntegrityError):
            return refusal(UNIQUE.get(str(cause).partition(": ")[2], ""), str(cause))
        if name == "SQLITE_CANTOPEN":
            return Unavailable(f"{self.place} {why_not_opened(self.path)}")
        if name == "SQLITE_ERROR" and str(cause).startswith(("no such table", "no such column")):
            return SchemaMissing(f"{self.place} lacks a table or column: run 'handover migrate up'")
        kind, what = BY_NAME.get("_".join(name.split("_")[:2])) or (None, "")
        if kind:
            return kind(f"{self.place} {what}")
        return Unexpected(f"{self.place}: {cause}") if isinstance(cause, sqlite3.Error) else error


IN_THE_THREAD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT}
"""What says that a statement has to wait, or is long. Neither has done anything."""


def at_once(connection: sqlite3.Connection, sql: str, arguments: list[Any]) -> Sequence[Any]:
    """Without waiting, and not for long. In a transaction there is nothing to wait for, since it has its lock from the
    beginning, and SQLite might undo it with a statement that is interrupted; but what is brief there is so for sure."""
    if connection.in_transaction:
        return connection.execute(sql, arguments).fetchall()
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        if sql != BEGIN:  # interrupted at its end, it would have begun
            end = perf_counter() + LONG
            connection.set_progress_handler(lambda: perf_counter() > end, STEPS)
        return connection.execute(sql, arguments).fetchall()
    finally:
        connection.set_progress_handler(None, 0)  # in the thread each look would take the interpreter's lock
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")


def why_not_opened(path: Path) -> str:
    if path.is_dir():
        return "is a folder: name a file in HANDOVER_DATABASE_URL"
    if not path.absolute().parent.is_dir():
        return "cannot be opened: create its folder, or name another file in HANDOVER_DATABASE_URL"
    return "cannot be opened: give this user the right to read and write it and its folder"
