"""PostgreSQL through asyncpg: pools, migrations under a lock, and what the server's errors mean."""

import asyncio
import random
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import NullPool, Select, Text, column, func, not_, select, table, text, values
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from application.errors import Busy, NoSpace, TryAgain, Unavailable
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.persistence.sqlalchemy.engines.asyncpg_connections import PostgresDialect, connector
from infrastructure.persistence.sqlalchemy.engines.database import ConnectionPool, Database, SchemaChange
from infrastructure.persistence.sqlalchemy.engines.errors import (
    TOO_MANY_FILES,
    Classify,
    LockTimeout,
    SchemaMissing,
    UnexpectedDriverError,
    constraint_error,
    is_too_many_files,
    translate_errors,
    unwrap_driver_error,
)
from infrastructure.persistence.sqlalchemy.engines.postgresql_address import parse_address
from infrastructure.persistence.sqlalchemy.tables import metadata, transfers
from infrastructure.settings import Settings

__all__ = ["PostgresDialect", "change_schema", "open_postgresql", "unsafe_settings"]

SECONDS_BEYOND_DEADLINE = 0.5
"""The server's own limits come this much later than the request's deadline, which cancels a statement first."""
UNSAFE_VALUES = {
    "fsync": ("off", "a crash of the machine may lose confirmed changes or damage the database; set it to on"),
    "full_page_writes": ("off", "a crash of the machine may damage the database; set it to on"),
    "synchronous_commit": ("off", "a crash of the server may lose confirmed changes; set it to on"),
    "session_replication_role": ("replica", "foreign keys are not checked; set it to origin"),
    "default_transaction_read_only": ("on", "no change is possible; set it to off for this database and this user"),
    "in_hot_standby": ("on", "no change is possible on a standby; name the primary, or all hosts"),
}
"""The values of settings with which our promises do not hold, and why."""
SETTINGS: Select[Any] = select(text("name, setting")).select_from(table("pg_settings"))
PRIVILEGES = values(column("name", Text), column("privilege", Text), name="needed", literal_binds=True).data(
    [
        (each.name, privilege)
        for each in metadata.sorted_tables
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        if each is not transfers or privilege in {"SELECT", "INSERT"}  # the history only grows
    ]
)
"""What a server needs on each table. Rows that it locks need UPDATE, too."""
DENIED: Select[Any] = select(PRIVILEGES.c.name, PRIVILEGES.c.privilege).where(
    not_(func.has_table_privilege(func.to_regclass(PRIVILEGES.c.name), PRIVILEGES.c.privilege))
)
"""Those that the user has not. A table that does not exist is left out, because the condition is NULL."""
MIGRATION_LOCK = int.from_bytes(b"handover", "big")
MIGRATION_ATTEMPTS = 60


def open_postgresql(settings: Settings) -> Database:
    """Return the database that the settings name, not connected yet; raise Misconfigured if the URL is not valid.

    Reads and transactions share one pool. The server itself ends statements, and transactions that are idle, after
    SECONDS_BEYOND_DEADLINE more than the time that a request may take.
    """
    address = parse_address(settings.database_url)
    milliseconds = str(int((settings.request_deadline + SECONDS_BEYOND_DEADLINE) * 1000))
    engine = create_async_engine(
        "postgresql+handover://",
        async_creator=connector(
            address,
            seconds=settings.pool_timeout,
            limits={"statement_timeout": milliseconds, "idle_in_transaction_session_timeout": milliseconds},
        ),
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_overflow,
        pool_recycle=settings.pool_recycle,
        pool_pre_ping=settings.pool_pre_ping,
        pool_reset_on_return=None,
    )
    begin = f"BEGIN ISOLATION LEVEL {settings.isolation or 'READ COMMITTED'}"
    driver = AsyncpgDriver(address.location, begin, secrets=address.secrets)
    limiter = CapacityLimiter(settings.pool_size + settings.pool_overflow, settings.pool_timeout)
    pool = ConnectionPool(engine, limiter)
    return Database(driver, readers=pool, writers=pool, pre_ping=settings.pool_pre_ping)


async def unsafe_settings(database: Database) -> dict[str, str]:
    """Return the server's settings with which our promises do not hold, by name, each with what is wrong with it.

    The result is empty if there are none, or for example `{"fsync": "is off: ..."}`. The values are those in effect for
    our sessions. Privileges on tables that the user lacks are among them, as `{"privileges on items": "lack ..."}`.
    """
    found = {row["name"]: row["setting"] for row in await database.fetch(SETTINGS, {})}
    unsafe = {
        name: f"is {value}: {consequence}"
        for name, (value, consequence) in UNSAFE_VALUES.items()
        if found.get(name) == value
    }
    denied: dict[str, list[str]] = {}
    for row in await database.fetch(DENIED, {}):
        denied.setdefault(row["name"], []).append(row["privilege"])
    for name, privileges in denied.items():
        unsafe[f"privileges on {name}"] = f"lack {', '.join(privileges)}: some changes fail; grant them to this user"
    return unsafe


async def change_schema(settings: Settings, change: SchemaChange) -> None:
    """Run the change while no other process changes the schema, and commit it.

    Raise Busy if that does not succeed in MIGRATION_ATTEMPTS attempts, which take half a minute or more. An attempt
    fails if another process has the migration lock, or if the change has to wait for the lock on a table for more than
    a second. Then the change is run again from its beginning, so it may run several times; before that, what it has not
    committed by itself is rolled back.

    Attempts do not wait for the migration lock, because a waiting statement would hold up `CREATE INDEX CONCURRENTLY`.
    They wait for tables only briefly, because the statements of everybody else queue up behind a waiting lock.
    """
    address = parse_address(settings.database_url)
    limits = {"lock_timeout": "1s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connect = connector(address, seconds=settings.pool_timeout, limits=limits)
    engine = create_async_engine(
        "postgresql+handover://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    classify = AsyncpgDriver(address.location, secrets=address.secrets).classify

    with translate_errors(classify):
        async with engine.connect() as connection:
            for _ in range(MIGRATION_ATTEMPTS):
                if await _change_under_lock(connection, change, classify):
                    return
                await asyncio.sleep(random.uniform(0.2, 0.8))  # noqa: S311 - jitter, not a secret
    raise Busy(f"{address.location} is too busy to change its schema: end long transactions, then run it again")


async def _change_under_lock(connection: AsyncConnection, change: SchemaChange, classify: Classify) -> bool:
    """Try once to take the migration lock, run the change and commit it; return whether that has succeeded.

    Return False if another process has the migration lock, or if the change did not obtain another lock in time; what
    it has not committed by itself is then rolled back. The migration lock is kept until the connection is closed.
    """
    try:
        with translate_errors(classify):
            if not await connection.scalar(select(func.pg_try_advisory_lock(MIGRATION_LOCK))):
                return False
            await connection.commit()
            await connection.run_sync(change)
            await connection.commit()
            return True
    except LockTimeout:
        return False
    finally:
        await connection.rollback()


TOO_MANY_CONNECTIONS = "53300"
BY_STATE: dict[str, tuple[type[Exception], str]] = {
    "40001": (TryAgain, "met a conflict with another unit of work"),
    "22P02": (TryAgain, "has rows that another unit of work has changed"),  # raised by `combined`, see there
    "40P01": (TryAgain, "met a deadlock with another unit of work"),
    "55P03": (LockTimeout, "gave no lock in time"),
    "57014": (Busy, "took too long over a statement"),
    "53100": (NoSpace, "has no disk space left: free some"),
    TOO_MANY_CONNECTIONS: (
        Busy,
        "has no connection left: lower HANDOVER_POOL_SIZE or HANDOVER_WORKERS, or raise max_connections or the"
        " CONNECTION LIMIT of the role or database",
    ),
    "25006": (Unavailable, "takes no writes: it is a standby, or set to read-only"),
    "28000": (Unavailable, "refuses this user: check HANDOVER_DATABASE_URL and the server's pg_hba.conf"),
    "28P01": (
        Unavailable,
        "refuses this password, or got none: check HANDOVER_DATABASE_URL, PGPASSWORD and {home}/.pgpass",
    ),
    "3D000": (Unavailable, "has no database of this name: create it, or check HANDOVER_DATABASE_URL"),
    "42501": (Unavailable, "denies this user what Handover needs: grant it the schema and the tables"),
    "42P01": (SchemaMissing, "lacks a table: run 'handover migrate up'"),
    "42703": (SchemaMissing, "lacks a column: run 'handover migrate up'"),
    "42704": (Unavailable, "does not know a parameter in HANDOVER_DATABASE_URL"),
}
"""Errors by SQLSTATE, see https://www.postgresql.org/docs/current/errcodes-appendix.html. The text follows the name of
the database."""
BY_CLASS: dict[str, tuple[type[Exception], str]] = {
    "08": (Unavailable, "cannot be reached: the connection failed"),
    "53": (Unavailable, "is out of memory or of another resource: look into its log"),
    "57": (Unavailable, "is starting or stopping: try again in a moment"),
    "58": (Unavailable, "has trouble with its machine: look into its log"),
}
"""Errors whose SQLSTATE is not in BY_STATE, by its first two characters."""
BY_TYPE: list[tuple[type[Exception], type[Exception], str]] = [
    (asyncpg.TargetServerAttributeNotMatched, Unavailable, "takes no writes: none of these hosts is the primary"),
    (
        asyncpg.ClientConfigurationError,
        Unavailable,
        "cannot be reached: HANDOVER_DATABASE_URL has a parameter that is wrong",
    ),
    (TimeoutError, Unavailable, "does not answer: is it well, and is HANDOVER_DATABASE_URL right?"),
    (socket.gaierror, Unavailable, "cannot be found: there is no host of this name; check HANDOVER_DATABASE_URL"),
    (ssl.SSLError, Unavailable, "cannot be reached over TLS: check sslmode and the certificates"),
    (
        PermissionError,
        Unavailable,
        "cannot be reached, because this user may not read a file: check {home}/.postgresql, the files and the socket"
        " that HANDOVER_DATABASE_URL names, and HOME",
    ),
    (
        FileNotFoundError,
        Unavailable,
        "cannot be reached, because there is no file or socket of a name in HANDOVER_DATABASE_URL: check sslrootcert,"
        " sslcert, sslkey, host and port",
    ),
    (OSError, Unavailable, "cannot be reached: is it running, and is HANDOVER_DATABASE_URL right?"),
]
"""Errors without a known SQLSTATE, by the class of the exception; the first match counts.

`{home}` stands for the home folder, in which asyncpg looks for certificates and passwords.
"""
TLS_REJECTED = "rejected SSL upgrade"
"""What asyncpg's ConnectionError says if `sslmode` requires encryption and the server has none."""


@dataclass(frozen=True, slots=True)
class AsyncpgDriver:
    """The Driver for PostgreSQL. Its connections are those of asyncpg."""

    location: str
    begin_statement: str = "BEGIN"
    has_named_rows: bool = True
    secrets: Sequence[str] = ()
    """What no message may show."""

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, is_short: bool) -> Sequence[Any]:
        """Execute a statement and return its rows. `is_short` makes no difference here (see Driver)."""
        rows: Sequence[Any] = await connection.fetch(sql, *arguments)
        return rows

    async def execute(self, connection: Any, sql: str) -> None:
        """Execute a statement that has neither arguments nor rows."""
        await connection.execute(sql)

    def is_closed(self, connection: Any) -> bool:
        """Return whether the connection has ended."""
        return bool(connection.is_closed())

    def classify(self, error: Exception) -> Exception:
        """Return the application's error for an error of asyncpg or the network, also one that SQLAlchemy has wrapped.

        A database error without a known meaning is UnexpectedDriverError; any other error is returned unchanged. The
        message of Unavailable, also of Busy if the server has no connection left, ends with the class and the text of
        the driver's error, without secrets: it is about connecting or the schema, and has no values of rows.
        """
        cause = unwrap_driver_error(error)
        if isinstance(cause, asyncpg.InvalidCachedStatementError):
            return TryAgain(f"{self.location} has changed its schema meanwhile")
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            return constraint_error(cause.constraint_name or "", cause.args[0])
        if is_too_many_files(cause):
            return Unavailable(f"{self.location} cannot be reached, because {TOO_MANY_FILES}")
        state = getattr(cause, "sqlstate", None) or ""
        kind, what = _meaning(cause, state)
        is_unavailable = kind is not None and issubclass(kind, Unavailable) and not issubclass(kind, Busy | NoSpace)
        if kind and (is_unavailable or state == TOO_MANY_CONNECTIONS):
            return kind(f"{self.location} {what.replace('{home}', _home())} ({self._describe(cause)})")
        if kind:
            return kind(f"{self.location} {what}")
        is_database_error = isinstance(cause, asyncpg.PostgresError)
        return UnexpectedDriverError(f"{self.location}: {cause.args[0]}") if is_database_error else error

    def _describe(self, cause: Exception) -> str:
        """Return the class and the text of an error in one line, such as `TimeoutError` or `OSError: no route`."""
        text = " ".join(str(cause.args[0] if isinstance(cause, asyncpg.PostgresError) else cause).split())
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def _meaning(cause: Exception, state: str) -> tuple[type[Exception] | None, str]:
    """Return the class of the application's error for a driver's error, and the text after the name of the database.

    `state` is the error's SQLSTATE, empty if it has none. The class is None if the error has no known meaning.
    """
    if isinstance(cause, ConnectionError) and TLS_REJECTED in str(cause):
        return Unavailable, "offers no encryption: set ssl=on there, or change sslmode (or PGSSLMODE)"
    by_type = ((kind, what) for type_, kind, what in BY_TYPE if isinstance(cause, type_))
    return BY_STATE.get(state) or BY_CLASS.get(state[:2]) or next(by_type, (None, ""))


def _home() -> str:
    """Return the home folder of this process's user, `~` if it is not known."""
    try:
        return str(Path.home())
    except (RuntimeError, KeyError):
        return "~"
