"""The transaction of a unit of work: one connection from BEGIN to COMMIT or ROLLBACK."""

from collections.abc import Sequence

from sqlalchemy import ClauseElement

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from infrastructure.persistence.sqlalchemy.engines.compiled import Parameters
from infrastructure.persistence.sqlalchemy.engines.database import PooledConnection
from infrastructure.persistence.sqlalchemy.engines.errors import ConnectionLost, UnexpectedDriverError
from infrastructure.persistence.sqlalchemy.rows import Row

CHANGED_MEANWHILE = "another unit of work was first"


class Transaction:
    """A transaction that has begun. After an error it can only be rolled back, on SQLite as on PostgreSQL."""

    def __init__(self, connection: PooledConnection) -> None:
        self.connection = connection
        self.dialect = connection.database.dialect.name
        self.deferred: dict[ClauseElement, Parameters] = {}
        """Changes that have not been sent yet (see defer())."""
        self.failed = False
        self.committing = False
        self.committed = False

    async def fetch(self, statement: ClauseElement, parameters: Parameters, *, one_row: bool = False) -> Sequence[Row]:
        """Send all deferred changes, then execute a statement and return its rows.

        `one_row` says that it concerns one row by its key, and so is short. Raise TryAgain if a deferred change did not
        find its row. After any error the transaction can only be rolled back.
        """
        await self._send_deferred()
        try:
            return await self.connection.fetch(statement, parameters, one_row=one_row)
        except BaseException:
            self.failed = True
            raise

    async def fetch_one(self, statement: ClauseElement, parameters: Parameters) -> Row | None:
        """Execute a statement that concerns one row by its key; return the row, or None if there is none.

        On SQLite it is executed on the event loop (see `aiosqlite_connections`).
        """
        rows = await self.fetch(statement, parameters, one_row=True)
        return rows[0] if rows else None

    async def change(self, statement: ClauseElement, parameters: Parameters) -> None:
        """Execute a change of one row, which the statement must return.

        Raise TryAgain if it returns none, because another unit of work has changed or removed the row.
        """
        if await self.fetch_one(statement, parameters) is None:
            self.failed = True
            raise TryAgain(CHANGED_MEANWHILE)

    async def defer(self, statement: ClauseElement, parameters: Parameters) -> None:
        """Make a change of one row as change() does, but on PostgreSQL not before the next fetch or the commit.

        All changes deferred until then are sent as one statement, which saves round trips. Errors are raised then. Two
        changes with the same statement are not combined, because they might concern the same row.
        """
        if self.dialect != "postgresql":
            await self.change(statement, parameters)
            return
        if statement in self.deferred:
            await self._send_deferred()
        self.deferred[statement] = parameters

    async def _send_deferred(self) -> None:
        """Send all deferred changes as one statement; raise TryAgain unless each of them has changed its row."""
        changes, self.deferred = self.deferred, {}
        if not changes:
            return
        try:
            changed = await self.connection.execute_combined(changes)
        except BaseException:
            self.failed = True
            raise
        if changed != len(changes):
            self.failed = True
            raise TryAgain(CHANGED_MEANWHILE)

    async def commit(self) -> None:
        """Send deferred changes and commit.

        Raise TryAgain if the connection was found lost before anything was sent, Unavailable if it is lost while
        deferred changes are sent, and OutcomeUnknown if it is lost during the commit itself.
        """
        if self.failed:
            raise RuntimeError("after an error a unit of work can only be left")
        if self.connection.is_closed:
            raise TryAgain("the connection was lost before the commit")
        await self._send_deferred()
        self.committing = True
        try:
            await self.connection.execute("COMMIT")
        except ConnectionLost:
            raise OutcomeUnknown("the connection to the store was lost during the commit") from None
        self.committing = False
        self.committed = True

    async def abandon(self) -> None:
        """End the transaction, if it is not committed, by closing its connection, when there is no time to roll back.

        If a commit is running, the server is not told: it has not answered that, and telling it might hang, too.
        """
        if not self.committed:
            await self.connection.invalidate(politely=not self.committing)

    async def end(self) -> None:
        """Roll back if the transaction is not committed, and give the connection back."""
        try:
            if not self.committed and not self.connection.is_closed:
                await self.connection.execute("ROLLBACK")
        except (TryAgain, Unavailable, UnexpectedDriverError):
            await self.connection.invalidate()
        finally:
            self.connection.release()
