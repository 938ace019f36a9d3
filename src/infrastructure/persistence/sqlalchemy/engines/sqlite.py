"""SQLite through aiosqlite: pools, migrations, and what its errors mean.

Reads and transactions have engines of their own. Reads never wait in WAL mode. A process has one connection for
transactions, so that its units of work queue in the process, where they can be cancelled, rather than in SQLite.

Short statements are executed on the event loop (see `aiosqlite_connections`): reads, BEGIN, and changes of one row,
which reach the disk no sooner than with COMMIT. COMMIT and all other changes are executed in the connection's thread.
Rows that are not in memory are read from the file on the event loop, so the file should be on a local disk.
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import AsyncAdaptedQueuePool, NullPool, Select, event, literal_column, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import UniqueConstraint

from application.errors import Busy, NoSpace, TryAgain, Unavailable
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.cpu import CORES
from infrastructure.persistence.sqlalchemy.engines.aiosqlite_connections import (
    BEGIN,
    BUSY_TIMEOUT,
    Connector,
    SqliteDialect,
    query,
)
from infrastructure.persistence.sqlalchemy.engines.database import ConnectionPool, Database, SchemaChange
from infrastructure.persistence.sqlalchemy.engines.errors import (
    TOO_MANY_FILES,
    SchemaMissing,
    UnexpectedDriverError,
    constraint_error,
    is_too_many_files,
    translate_errors,
    unwrap_driver_error,
)
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.settings import Misconfigured, Settings

__all__ = ["SqliteDialect", "change_schema", "open_sqlite", "unsafe_settings"]

OLDEST_VERSION = (3, 35)
"""The first version with RETURNING."""

PRAGMAS = {"busy_timeout": str(BUSY_TIMEOUT), "journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON"}
"""Executed on each new connection, in this order: changing the journal mode may have to wait for a lock."""


SAFE_VALUES: dict[str, tuple[set[Any], str]] = {
    "journal_mode": ({"wal"}, "reads and changes wait for each other; keep the file where SQLite can use WAL"),
    "synchronous": ({2, 3}, "a confirmed change may be lost in a crash of the machine; FULL is needed"),
    "foreign_keys": ({1}, "an item may lose its owner; ON is needed"),
}
"""The values of pragmas with which our promises hold, and what is wrong with any other value."""
PRAGMA_VALUES: Select[Any] = select(
    *(
        select(literal_column(pragma)).select_from(text(f"pragma_{pragma}")).scalar_subquery().label(pragma)
        for pragma in SAFE_VALUES
    )
)


def open_sqlite(settings: Settings) -> Database:
    """Return the database that the settings name, not opened yet: a pool for reads, one connection for transactions.

    Raise Misconfigured if the URL names no file (see path_in()), or SQLite is older than OLDEST_VERSION.
    """
    if sqlite3.sqlite_version_info < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise Misconfigured(f"SQLite {oldest} or newer is needed, not {sqlite3.sqlite_version}")
    path = path_in(settings.database_url)
    connect = Connector(path)

    def pool(size: int, overflow: int) -> ConnectionPool:
        """Return a pool of so many connections to the file, and up to `overflow` more."""
        engine = create_engine(
            connect,
            PRAGMAS,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=overflow,
            pool_reset_on_return=None,
        )
        return ConnectionPool(engine, CapacityLimiter(size + overflow, settings.pool_timeout))

    # More threads than cores only contend with each other: with ten instead of two, a page takes a fifth longer.
    readers = pool(min(settings.pool_size, max(2, CORES)), settings.pool_overflow)
    return Database(AiosqliteDriver(path), readers=readers, writers=pool(1, 0), pre_ping=False)


async def unsafe_settings(database: Database) -> dict[str, str]:
    """Return the pragmas with which our promises do not hold, by name, each with what is wrong with it.

    The result is empty if there are none, or for example `{"journal_mode": "is delete: ..."}`. The values are those in
    effect on a connection for reads.
    """
    [row] = await database.fetch(PRAGMA_VALUES, {})
    return {
        name: f"is {row[name]}: {consequence}"
        for name, (safe, consequence) in SAFE_VALUES.items()
        if row[name] not in safe
    }


async def wait_for_terminated(database: Database) -> None:
    """Wait until terminated connections are closed, but at most a second, because a statement may run for longer.

    The thread of a connection that is closed after the event loop has ended would write a traceback.
    """
    dialects: list[Any] = [pool.engine.dialect for pool in (database.readers, database.writers)]
    closing = [future for dialect in dialects for future in dialect.closing]
    if closing:
        await asyncio.wait(closing, timeout=1)


async def change_schema(settings: Settings, change: SchemaChange) -> None:
    """Run the change in one transaction, and commit it.

    Raise Busy if another process has the lock on the file for longer than BUSY_TIMEOUT, and Unavailable if a row would
    refer to one that does not exist; the database is then left as it was.

    Foreign keys are off meanwhile, because rebuilding a table would otherwise delete the rows that refer to it. They
    are checked at the end. SQLite ignores this pragma inside a transaction, so it is set before.
    """
    path = path_in(settings.database_url)
    engine = create_engine(Connector(path), PRAGMAS | {"foreign_keys": "OFF"}, poolclass=NullPool)
    try:
        with translate_errors(AiosqliteDriver(path).classify):
            async with engine.connect() as connection:
                await connection.exec_driver_sql(BEGIN)
                await connection.run_sync(change)  # if it raises, closing the connection undoes it
                if (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first():
                    raise Unavailable(f"the SQLite file {path} would have rows that refer to nothing: left as it was")
                await connection.exec_driver_sql("COMMIT")
    except TryAgain as error:
        raise Busy(str(error)) from None


def create_engine(connect: Connector, pragmas: dict[str, str], **pool_options: Any) -> AsyncEngine:
    """Return a SQLAlchemy engine on a file in autocommit mode, which sets the pragmas on every new connection."""
    engine = create_async_engine(
        "sqlite+handover://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        **pool_options,
    )
    set_pragmas(engine, pragmas)
    return engine


def set_pragmas(engine: AsyncEngine, pragmas: dict[str, str]) -> None:
    """Make the engine execute the pragmas on every connection that it opens from now on."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        """Execute the pragmas; if one of them fails, close the connection and raise the error."""
        cursor = connection.cursor()
        try:
            for name, value in pragmas.items():
                cursor.execute(f"PRAGMA {name} = {value}")
        except BaseException:
            connection.close()  # the pool would forget it, and its thread would outlive the event loop
            raise
        cursor.close()


def path_in(url: str) -> Path:
    """Return the file that a `sqlite:///` URL names, relative to the working directory unless there are four slashes.

    Raise Misconfigured if the URL has a host, names no file, or names `:memory:`. The scheme is not checked.
    """
    parts = urlsplit(url)
    if parts.netloc or Path(parts.path).name in {"", ":memory:"}:
        raise Misconfigured(
            "HANDOVER_DATABASE_URL: must be sqlite:///file or sqlite:////folder/file; in memory alone is memory://"
        )
    return Path(parts.path[1:])


UNIQUE_CONSTRAINTS = {
    ", ".join(f"{table.name}.{column.name}" for column in constraint.columns): str(constraint.name)
    for table in metadata.tables.values()
    for constraint in table.constraints
    if isinstance(constraint, UniqueConstraint)
}
"""The name of each unique constraint by its columns, which is what SQLite's error message names."""

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
"""Errors by the primary part of SQLite's error name. The text follows the name of the file."""


@dataclass(frozen=True, slots=True)
class AiosqliteDriver:
    """The Driver for SQLite. Its connections are those of aiosqlite."""

    path: Path
    begin_statement: str = BEGIN
    has_named_rows: bool = False

    @property
    def location(self) -> str:
        """The file as error messages name it, such as `the SQLite file /var/handover.db`."""
        return f"the SQLite file {self.path}"

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, is_short: bool) -> Sequence[Any]:
        """Execute a statement in the connection's thread and return its rows.

        A short one is tried on the event loop first, and runs in the thread if it would wait or takes long.
        """
        return await query(connection, sql, arguments, on_event_loop=is_short)

    async def execute(self, connection: Any, sql: str) -> None:
        """Execute BEGIN as query() does a short statement, and COMMIT or ROLLBACK in the connection's thread."""
        await self.query(connection, sql, [], is_short=sql == self.begin_statement)

    def is_closed(self, connection: Any) -> bool:
        """Return False: there is no server that could end the connection."""
        return False

    def classify(self, error: Exception) -> Exception:
        """Return the application's error for an error of sqlite3, also one that SQLAlchemy has wrapped.

        A database error without a known meaning is UnexpectedDriverError; any other error is returned unchanged.
        """
        cause = unwrap_driver_error(error)
        name = getattr(cause, "sqlite_errorname", "")
        if isinstance(cause, sqlite3.IntegrityError):
            return constraint_error(UNIQUE_CONSTRAINTS.get(str(cause).partition(": ")[2], ""), str(cause))
        if name == "SQLITE_CANTOPEN":
            return Unavailable(f"{self.location} {why_not_opened(self.path)}")
        if name == "SQLITE_ERROR" and str(cause).startswith(("no such table", "no such column")):
            return SchemaMissing(f"{self.location} lacks a table or column: run 'handover migrate up'")
        kind, what = BY_NAME.get("_".join(name.split("_")[:2])) or (None, "")
        if kind:
            return kind(f"{self.location} {what}")
        return UnexpectedDriverError(f"{self.location}: {cause}") if isinstance(cause, sqlite3.Error) else error


def why_not_opened(path: Path) -> str:
    """Return the reason why a file cannot be opened and what to do, as the end of an error message.

    The file itself is not opened to find out: closing it would release all locks that this process has on it (POSIX),
    which SQLite needs. See sqlite.org/howtocorrupt.html, section 2.2.
    """
    try:
        if path.is_dir():
            return "is a folder: name a file in HANDOVER_DATABASE_URL"
        if not path.absolute().parent.is_dir():
            return "cannot be opened: create its folder, or name another file in HANDOVER_DATABASE_URL"
        if not path.exists() and os.access(path.absolute().parent, os.W_OK):
            return "is missing: put it back, or start Handover again to begin with an empty one"
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if is_too_many_files(error):
            return f"cannot be opened, because {TOO_MANY_FILES}"
    return "cannot be opened: give this user the right to read and write it and its folder"
