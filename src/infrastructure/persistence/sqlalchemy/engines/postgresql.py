"""PostgreSQL through asyncpg: how to connect, how to end a connection, and what errors mean."""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg
from sqlalchemy import NullPool, func, select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.util.concurrency import await_, in_greenlet

from application.errors import Busy, NoSpace, TryAgain, Unavailable
from infrastructure.persistence.sqlalchemy.engines.database import Database, Pool, Work
from infrastructure.persistence.sqlalchemy.engines.errors import (
    LockNotHad,
    SchemaMissing,
    Unexpected,
    driver_error,
    refusal,
    translated,
)
from infrastructure.settings import Misconfigured, Settings

SECONDS_TO_END_POLITELY = 0.1
SECONDS_BEYOND_DEADLINE = 0.5
MIGRATION_LOCK = int.from_bytes(b"handover", "big")
MIGRATION_ATTEMPTS = 60
LIBPQ_ALONE = {"channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_idle"}
"""Parameters that asyncpg would pass on to the server, which does not know them."""


def open_postgresql(settings: Settings) -> Database:
    address = address_in(settings.database_url)
    milliseconds = str(int((settings.request_deadline + SECONDS_BEYOND_DEADLINE) * 1000))
    engine = create_async_engine(
        "postgresql+handover://",
        # Belts: the request's own deadline cancels first.
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
    driver = Asyncpg(address.place, f"BEGIN ISOLATION LEVEL {settings.isolation or 'READ COMMITTED'}")
    room = asyncio.Semaphore(settings.pool_size + settings.pool_overflow)
    pool = Pool(engine, room, settings.pool_timeout)
    return Database(driver, readers=pool, writers=pool, pre_ping=settings.pool_pre_ping)


async def migrate(settings: Settings, work: Work) -> None:
    """Under a lock that others try for: waiting for it, their statements would hold up `CREATE INDEX CONCURRENTLY`.

    No lock on a table is waited for longer than a second, because everybody else's statements would queue up behind.
    """
    address = address_in(settings.database_url)
    limits = {"lock_timeout": "1s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connect = connector(address, seconds=settings.pool_timeout, limits=limits)
    engine = create_async_engine(
        "postgresql+handover://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    meaning = Asyncpg(address.place).meaning

    async def attempt(connection: AsyncConnection) -> bool:
        try:
            with translated(meaning):
                if not await connection.scalar(select(func.pg_try_advisory_lock(MIGRATION_LOCK))):
                    return False
                await connection.commit()
                await connection.run_sync(work)
                await connection.commit()
                return True
        except LockNotHad:
            return False
        finally:
            await connection.rollback()

    with translated(meaning):
        async with engine.connect() as connection:
            for _ in range(MIGRATION_ATTEMPTS):
                if await attempt(connection):
                    return
                await asyncio.sleep(random.uniform(0.2, 0.8))  # noqa: S311 - jitter, not a secret
    raise Busy(f"{address.place} is too busy to change its schema: end long transactions, then run it again")


class PostgresDialect(PGDialect_asyncpg):
    supports_statement_cache = True

    def do_terminate(self, dbapi_connection: DBAPIConnection) -> None:
        """Tell the server to stop what it does for us, but do not wait long: it may be hung."""
        driver = dbapi_connection.driver_connection
        if in_greenlet():
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it is closed all the same
                await_(driver.close(timeout=SECONDS_TO_END_POLITELY))
        else:
            driver.terminate()

    def do_close(self, dbapi_connection: DBAPIConnection) -> None:
        self.do_terminate(dbapi_connection)  # the driver's own way waits for the server for ever


@dataclass(frozen=True, slots=True)
class Address:
    hosts: list[tuple[str | None, int | None]]
    rest: dict[str, Any]
    """What else asyncpg.connect() takes."""

    @property
    def place(self) -> str:
        bracketed = ((f"[{host}]" if host and ":" in host else host, port) for host, port in self.hosts)
        hosts = [f"{host}:{port}" if port else host for host, port in bracketed if host]
        return f"PostgreSQL at {', '.join(hosts)}" if hosts else "PostgreSQL"


def address_in(url: str) -> Address:
    """Of the forms that libpq takes: several hosts before the slash, or as parameters."""
    parts = urlsplit(url)
    login, _, netloc = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query))
    named = [host for name, value in parse_qsl(parts.query) if name == "host" for host in value.split(",")]
    ports = query.get("port", "").split(",")
    hosts = [_host(host) for host in (named or netloc.split(","))]
    if len(ports) not in (1, len(hosts)) or not all(port.isdigit() for port in ports if port):
        raise Misconfigured("HANDOVER_DATABASE_URL: the ports do not fit the hosts")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    unknown = {"host", "port", "statement_cache_size", *LIBPQ_ALONE}
    options = {name: value for name, value in query.items() if name not in unknown}
    options.setdefault("application_name", "handover")
    options.setdefault("jit", "off")
    if len(hosts) > 1:
        options.setdefault("target_session_attrs", "read-write")
    return Address(
        hosts=[
            (host, port or (int(other) if other else None)) for (host, port), other in zip(hosts, ports, strict=True)
        ],
        rest={
            "dsn": f"postgresql://{parts.path}?{urlencode(options)}",
            "user": unquote(user) or None,
            "password": unquote(password) or None,
            "statement_cache_size": 0 if query.get("statement_cache_size") == "0" else 100,  # 0 for old PgBouncers
        },
    )


def _host(text: str) -> tuple[str | None, int | None]:
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d+))?", text)
    if not match:
        raise Misconfigured("HANDOVER_DATABASE_URL: must be postgresql://user:password@host:port/database")
    port = match["port"]
    return unquote(match["v6"] or match["host"]) or None, int(port) if port else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """To connect, begun when it is awaited: the pool makes some that it does not pursue."""

    connect: Callable[[], Awaitable[Any]]

    def __await__(self) -> Generator[Any, None, Any]:
        return self.connect().__await__()


def connector(address: Address, *, seconds: float, limits: dict[str, str]) -> Callable[[], Attempt]:
    async def connect() -> Any:
        """One host at a time, so that one that is silent leaves time for the next."""
        failure: Exception
        for host, port in address.hosts:
            connecting = asyncio.ensure_future(
                asyncpg.connect(
                    **address.rest,
                    host=host,
                    port=port,
                    timeout=seconds / len(address.hosts),
                    server_settings=limits,
                )
            )
            try:
                return await asyncio.shield(connecting)  # cut short, it would litter the log
            except asyncio.CancelledError:
                connecting.add_done_callback(drop)
                raise
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched) as error:
                failure = error
        raise failure

    return lambda: Attempt(connect)


def drop(connecting: asyncio.Future[Any]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().terminate()


BY_STATE: dict[str, tuple[type[Exception], str]] = {
    "40001": (TryAgain, "met a conflict with another unit of work"),
    "40P01": (TryAgain, "met a deadlock with another unit of work"),
    "55P03": (LockNotHad, "gave no lock in time"),
    "57014": (Busy, "took too long over a statement"),
    "53100": (NoSpace, "has no disk space left: free some"),
    "53300": (Busy, "has no connection left: lower HANDOVER_POOL_SIZE or HANDOVER_WORKERS, or raise max_connections"),
    "25006": (Unavailable, "takes no writes: it is a standby, or set to read-only"),
    "28000": (Unavailable, "refuses this user: check HANDOVER_DATABASE_URL and the server's pg_hba.conf"),
    "28P01": (Unavailable, "refuses this password: check HANDOVER_DATABASE_URL"),
    "3D000": (Unavailable, "has no database of this name: create it, or check HANDOVER_DATABASE_URL"),
    "42501": (Unavailable, "denies this user what Handover needs: grant it the schema and the tables"),
    "42P01": (SchemaMissing, "lacks a table: run 'handover migrate up'"),
    "42703": (SchemaMissing, "lacks a column: run 'handover migrate up'"),
    "42704": (Unavailable, "does not know a parameter in HANDOVER_DATABASE_URL"),
}
BY_CLASS: dict[str, tuple[type[Exception], str]] = {
    "08": (Unavailable, "cannot be reached: the connection failed"),
    "53": (Unavailable, "is out of memory or of another resource: look into its log"),
    "57": (Unavailable, "is starting or stopping: try again in a moment"),
    "58": (Unavailable, "has trouble with its machine: look into its log"),
}
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
    (OSError, Unavailable, "cannot be reached: is it running, and is HANDOVER_DATABASE_URL right?"),
]


@dataclass(frozen=True, slots=True)
class Asyncpg:
    place: str
    begin: str = "BEGIN"
    names_columns: bool = True

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, brief: bool) -> Sequence[Any]:
        rows: Sequence[Any] = await connection.fetch(sql, *arguments)
        return rows

    async def command(self, connection: Any, sql: str) -> None:
        await connection.execute(sql)

    def is_closed(self, connection: Any) -> bool:
        return bool(connection.is_closed())

    def meaning(self, error: Exception) -> Exception:
        cause = driver_error(error)
        if isinstance(cause, asyncpg.InvalidCachedStatementError):
            return TryAgain(f"{self.place} has changed its schema meanwhile")
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            return refusal(cause.constraint_name or "", cause.args[0])
        state = getattr(cause, "sqlstate", None) or ""
        by_type = ((kind, what) for type_, kind, what in BY_TYPE if isinstance(cause, type_))
        kind, what = BY_STATE.get(state) or BY_CLASS.get(state[:2]) or next(by_type, (None, ""))
        if kind:
            return kind(f"{self.place} {what}")
        return Unexpected(f"{self.place}: {cause.args[0]}") if isinstance(cause, asyncpg.PostgresError) else error
