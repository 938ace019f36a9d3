"""SQLite through aiosqlite: how to connect, how to end a connection, and what errors mean.

Readers and the writer have engines of their own: readers never wait, and a process has one writer, so that its units
of work queue here, where they can be cancelled, rather than in SQLite.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import URL, NullPool, event
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import UniqueConstraint

from application.errors import Busy, TryAgain, Unavailable
from infrastructure.machine import CORES
from infrastructure.persistence.sqlalchemy.database import Database, Pool, Work
from infrastructure.persistence.sqlalchemy.errors import SchemaMissing, Unexpected, driver_error, refusal, translated
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.settings import Misconfigured, Settings

OLDEST = (3, 35)
"""The first version that knows RETURNING."""

PRAGMAS = {"busy_timeout": "5000", "journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON"}
"""In this order: changing the journal mode may have to wait."""


def open_sqlite(settings: Settings) -> Database:
    if sqlite3.sqlite_version_info < OLDEST:
        raise Misconfigured(f"SQLite {'.'.join(map(str, OLDEST))} or newer is needed, not {sqlite3.sqlite_version}")
    path = path_in(settings.database_url)

    def pool(size: int, overflow: int) -> Pool:
        engine = create_async_engine(
            URL.create("sqlite+handover", database=str(path)),
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            pool_size=size,
            max_overflow=overflow,
            pool_reset_on_return=None,
        )
        set_pragmas(engine, PRAGMAS)
        return Pool(engine, asyncio.Semaphore(size + overflow), settings.pool_timeout)

    return Database(
        Aiosqlite(path),
        # More threads than cores are only in each other's way: with ten instead of two a page takes a fifth longer.
        readers=pool(min(settings.pool_size, max(2, CORES)), settings.pool_overflow),
        writers=pool(1, 0),
        pre_ping=False,
    )


async def migrate(settings: Settings, work: Work) -> None:
    """In one transaction, and with foreign keys off, or what hangs on a table would go when that is rebuilt. SQLite
    does not listen to that pragma inside a transaction."""
    path = path_in(settings.database_url)
    url = URL.create("sqlite+handover", database=str(path))
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool, hide_parameters=True)
    set_pragmas(engine, PRAGMAS | {"foreign_keys": "OFF"})
    try:
        with translated(Aiosqlite(path).meaning):
            async with engine.connect() as connection:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
                await connection.run_sync(work)  # whatever it raises, the end of the connection undoes it
                if (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first():
                    raise Unavailable(f"the SQLite file {path} would have rows that refer to nothing: left as it was")
                await connection.exec_driver_sql("COMMIT")
    except TryAgain as error:
        raise Busy(str(error)) from None


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
    if parts.netloc or parts.path in {"", "/", "/:memory:"}:
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
    "SQLITE_FULL": (Unavailable, "cannot grow: free some disk space"),
    "SQLITE_IOERR": (Unavailable, "cannot be read or written: look after its disk"),
    "SQLITE_READONLY": (Unavailable, "cannot be written: give this user the right to write to it and to its folder"),
    "SQLITE_PERM": (Unavailable, "cannot be opened: give this user the right to read and write it"),
    "SQLITE_AUTH": (Unavailable, "cannot be opened: give this user the right to read and write it"),
}


@dataclass(frozen=True, slots=True)
class Aiosqlite:
    path: Path
    begin: str = "BEGIN IMMEDIATE"
    names_columns: bool = False

    @property
    def place(self) -> str:
        return f"the SQLite file {self.path}"

    async def query(self, connection: Any, sql: str, arguments: list[Any]) -> Sequence[Any]:
        rows: Sequence[Any] = await connection.execute_fetchall(sql, arguments)
        return rows

    async def command(self, connection: Any, sql: str) -> None:
        await connection.execute_fetchall(sql)

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


def why_not_opened(path: Path) -> str:
    if path.is_dir():
        return "is a folder: name a file in HANDOVER_DATABASE_URL"
    if not path.absolute().parent.is_dir():
        return "cannot be opened: create its folder, or name another file in HANDOVER_DATABASE_URL"
    return "cannot be opened: give this user the right to read and write it and its folder"
