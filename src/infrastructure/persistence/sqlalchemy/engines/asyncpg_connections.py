"""Opening and closing asyncpg's connections for SQLAlchemy's pool.

SQLAlchemy's own dialect waits for the server without limit when it closes a connection, and its pool may cancel
asyncpg in the middle of connecting, which asyncpg reports as unhandled errors. Both matter when a server hangs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.util.concurrency import await_, in_greenlet

from infrastructure.persistence.sqlalchemy.engines.postgresql_address import Address

SECONDS_TO_CLOSE = 0.1


class PostgresDialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect for asyncpg, except that connections are always closed within SECONDS_TO_CLOSE."""

    supports_statement_cache = True

    def do_terminate(self, dbapi_connection: DBAPIConnection) -> None:
        """Close the connection, whatever is running on it.

        Inside SQLAlchemy's greenlet, tell the server so and wait for it for at most SECONDS_TO_CLOSE, without raising
        errors of the connection; elsewhere, close the socket at once.
        """
        driver = dbapi_connection.driver_connection
        if in_greenlet():
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it is closed all the same
                await_(driver.close(timeout=SECONDS_TO_CLOSE))
        else:
            driver.terminate()

    def do_close(self, dbapi_connection: DBAPIConnection) -> None:
        """Do as do_terminate() does; SQLAlchemy's own version waits for the server without limit."""
        self.do_terminate(dbapi_connection)


@dataclass(frozen=True, slots=True)
class DeferredConnect:
    """An awaitable that begins to connect when it is awaited. SQLAlchemy's pool makes some that it never awaits."""

    connect: Callable[[], Awaitable[Any]]

    def __await__(self) -> Generator[Any, None, Any]:
        return self.connect().__await__()


def connector(address: Address, *, seconds: float, limits: dict[str, str]) -> Callable[[], DeferredConnect]:
    """Return a function for `async_creator` of SQLAlchemy's engine.

    It tries the hosts in order, each for an equal part of the seconds, so that a host that does not answer leaves time
    for the next. `limits` are settings for the server, such as `statement_timeout`.
    """

    async def connect() -> Any:
        """Return a connection to the first host that can be reached; raise the last host's error if none can.

        Any other error, such as a wrong password, is raised without trying the next host. If this is cancelled, the
        connection is closed as soon as it is made.
        """
        failure: Exception
        for host, port in address.hosts:
            connecting = asyncio.ensure_future(
                asyncpg.connect(
                    **address.arguments,
                    host=host,
                    port=port,
                    timeout=seconds / len(address.hosts),
                    server_settings=limits,
                )
            )
            try:
                return await asyncio.shield(connecting)  # asyncpg logs errors if it is cancelled while connecting
            except asyncio.CancelledError:
                connecting.add_done_callback(_close_unused)
                raise
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched) as error:
                failure = error
        raise failure

    return lambda: DeferredConnect(connect)


def _close_unused(connecting: asyncio.Future[Any]) -> None:
    """Close the connection that this future has made and nobody waits for any more; do nothing if it has made none."""
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().terminate()
