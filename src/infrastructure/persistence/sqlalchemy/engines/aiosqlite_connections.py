"""aiosqlite's connections, and what this project does with their private parts.

aiosqlite gives each connection a thread of its own. Passing a statement to the thread and its result back costs ten
times as much as a short statement itself, so short statements are executed on the event loop, through
`Connection._conn` (decision 0014). `Connection._thread` is made a daemon thread, and joined after a failure, so that it
cannot outlive the event loop. `Connection._tx` is the queue of what the thread has to do.
tests/infrastructure/test_library_internals.py fails if aiosqlite changes what is used.
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_TIMEOUT = 5000
"""Milliseconds for which SQLite waits for a lock that another process has."""

BEGIN = "BEGIN IMMEDIATE"

LONGEST_ON_EVENT_LOOP = 0.002
"""Seconds after which a read on the event loop is interrupted and started again in the thread."""

STEPS_BETWEEN_CHECKS = 500
"""Instructions of SQLite's virtual machine between two looks at the clock: the work of about twenty row reads."""

RETRY_IN_THREAD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT}
"""Error codes of a statement that has to wait for a lock, or was interrupted. Neither has had any effect."""


class SqliteDialect(SQLiteDialect_aiosqlite):
    """SQLAlchemy's dialect for aiosqlite, except that terminating a connection does not wait for its running statement.

    The statement is not interrupted; the connection is closed after it.
    """

    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.closing: set[asyncio.Future[Any]] = set()
        """Connections that are terminated and not closed yet."""

    def do_terminate(self, dbapi_connection: DBAPIConnection) -> None:
        """Tell the connection's thread to roll back and close it after its running statement; do not wait for that.

        Closing alone would not release the lock on the file while a cursor has rows that were not fetched, such as one
        that the traceback of a cancelled task refers to: SQLite then closes the connection when the cursor ends.
        """
        connection: aiosqlite.Connection = dbapi_connection.driver_connection

        def roll_back() -> None:
            """Undo the transaction, if there is one."""
            if connection._connection:
                connection._connection.rollback()

        connection._tx.put_nowait((None, roll_back))
        if closing := connection.stop():
            self.closing.add(closing)
            closing.add_done_callback(self.closing.discard)


class Connector:
    """Opens connections to one file, for `async_creator` of SQLAlchemy's engine.

    The file is created before the first connection if there is none (see create_private_file()). Later connections
    create none: if the file was moved away meanwhile, a new and empty one would stay in use after the file has come
    back.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.absolute()  # independent of later changes of the working directory
        self._may_create = True

    async def __call__(self) -> aiosqlite.Connection:
        """Open the file and return the connection. If this is cancelled, close the connection as soon as it is open."""
        if self._may_create:
            with suppress(OSError):  # if there is no file then, SQLite's error says so
                create_private_file(self._file)
        connection = aiosqlite.connect(f"{self._file.as_uri()}?mode=rw", uri=True, check_same_thread=False)
        connection._thread.daemon = True
        opening = asyncio.ensure_future(connection)

        def close_unused(opened: asyncio.Future[aiosqlite.Connection]) -> None:
            """Close the connection if opening it has succeeded after all."""
            if not opened.cancelled() and opened.exception() is None:
                connection.stop()

        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be interrupted, and aiosqlite would leave the file open once it has been opened.
            opening.add_done_callback(close_unused)
            raise
        except sqlite3.Error:
            connection._thread.join(1)  # it is about to end, and must not outlive the event loop
            raise
        self._may_create = False
        return connection


def create_private_file(path: Path) -> None:
    """Create an empty file that only its owner may read and write, which SQLite opens as an empty database.

    SQLite gives the same mode to the files `-wal` and `-shm` beside it. Raise FileExistsError if there is a file, which
    is not opened: closing it would release all locks that this process has on it (POSIX), which SQLite needs. See
    sqlite.org/howtocorrupt.html, section 2.2. If the path is a symbolic link, the file that it names is created.
    """
    os.close(os.open(os.path.realpath(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


async def query(
    connection: aiosqlite.Connection, sql: str, arguments: list[Any], *, on_event_loop: bool
) -> Sequence[Any]:
    """Execute a statement and return its rows.

    With `on_event_loop=True` it is tried there first. If it has to wait for a lock or, outside a transaction, takes
    longer than LONGEST_ON_EVENT_LOOP, it starts again in the connection's thread, where it may wait for BUSY_TIMEOUT.
    """
    if on_event_loop:
        try:
            return _query_on_event_loop(connection._conn, sql, arguments)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in RETRY_IN_THREAD:
                raise
    return list(await connection.execute_fetchall(sql, arguments))


def _query_on_event_loop(connection: sqlite3.Connection, sql: str, arguments: list[Any]) -> Sequence[Any]:
    """Execute a statement in the calling thread, without waiting for locks, and return its rows.

    Outside a transaction, raise sqlite3.OperationalError with the code SQLITE_BUSY if it would have to wait, or with
    SQLITE_INTERRUPT if it takes longer than LONGEST_ON_EVENT_LOOP. BEGIN is not interrupted.

    A transaction has its lock from the beginning, so nothing in it waits. Its statements are not interrupted, because
    SQLite may roll back a transaction whose statement is interrupted.
    """
    if connection.in_transaction:
        return connection.execute(sql, arguments).fetchall()
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        if sql != BEGIN:  # if BEGIN were interrupted at its end, the transaction would have begun
            end = perf_counter() + LONGEST_ON_EVENT_LOOP
            connection.set_progress_handler(lambda: perf_counter() > end, STEPS_BETWEEN_CHECKS)
        return connection.execute(sql, arguments).fetchall()
    finally:
        connection.set_progress_handler(None, 0)  # in the thread it would take the interpreter's lock each time
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
