"""The transaction of a unit of work: one connection, and everything from the first read to the commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ClauseElement, Select, Table, and_, bindparam, or_, select

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from infrastructure.lock_queue import LockQueue
from infrastructure.persistence.sqlalchemy.engines.compiled import Parameters
from infrastructure.persistence.sqlalchemy.engines.database import Database, PooledConnection
from infrastructure.persistence.sqlalchemy.engines.errors import ConnectionLost, UnexpectedDriverError
from infrastructure.persistence.sqlalchemy.rows import Row

CHANGED_MEANWHILE = "another unit of work was first"


@dataclass(frozen=True, slots=True, eq=False)
class LockingSelect:
    """A SELECT of rows of one table, which has the columns `id` and `version`, with its lock and without."""

    table: Table
    locking: Select[Any]
    plain: Select[Any]

    @classmethod
    def of(cls, table: Table, query: Select[Any], *, shared: bool = False) -> "LockingSelect":
        """Return the SELECT with the lock FOR UPDATE, or FOR SHARE if it is to be shared."""
        return cls(table, query.with_for_update(read=shared), query)


@cache
def unchanged(table: Table, count: int) -> Select[Any]:
    """Return a SELECT that locks those of `count` rows that still have the version that was read (FOR SHARE).

    The parameters are `id_0`, `version_0`, and so on. The rows are locked in the order of their ids.
    """
    rows = (
        and_(table.c.id == bindparam(f"id_{number}"), table.c.version == bindparam(f"version_{number}"))
        for number in range(count)
    )
    return select(table.c.id).where(or_(*rows)).order_by(table.c.id).with_for_update(read=True)


class Transaction:
    """A transaction. After an error it can only be rolled back, on SQLite as on PostgreSQL.

    An optimistic one begins no transaction of the database at first. It reads without locks and remembers the versions
    of the rows, collects the changes, and makes them at commit() in one statement, which fails unless all rows still
    have these versions. That takes two round trips, where a transaction that locks takes five. It turns into one that
    locks as soon as it is asked for what one statement cannot do. PostgreSQL only.
    """

    def __init__(self, database: Database, queue: LockQueue | None = None) -> None:
        """Create an optimistic transaction if `queue` is given: it waits there before it reads what it will change."""
        self.database = database
        self.queue = queue
        self.dialect = database.dialect.name
        self.is_optimistic = queue is not None
        """Whether nothing has been locked, because the transaction of the database has not begun."""
        self.versions: dict[Table, dict[UUID, int]] = {}
        """The versions of the rows that were read without a lock and have no deferred change."""
        self.claim: tuple[ClauseElement, Parameters] | None = None
        """The statement that claims this transaction's idempotency key, as long as it has not been sent."""
        self.deferred: dict[ClauseElement, Parameters] = {}
        """Changes that have not been sent yet (see defer())."""
        self.failed = False
        self.committing = False
        self.committed = False
        self._connection: PooledConnection | None = None

    @property
    def connection(self) -> PooledConnection:
        """The connection, which the transaction has from its first statement on."""
        assert self._connection  # noqa: S101 - callers have sent a statement
        return self._connection

    async def begin(self) -> None:
        """Begin the transaction of the database, which locks from now on; do nothing if it has begun.

        What was read without a lock before is locked now. Raise TryAgain if it has changed meanwhile, or if the
        idempotency key cannot be claimed at once. After an error the transaction can only be rolled back.
        """
        if self._connection and not self.is_optimistic:
            return
        self.is_optimistic = False
        if self.queue:
            self.queue.is_closed = True  # who has locks of the database must not wait for anybody in the process
        try:
            if self._connection is None:
                self._connection = await self.database.begin()
            else:
                await self._connection.execute(self.database.driver.begin_statement)
            await self._claim_and_lock()
        except BaseException:
            self.failed = True
            raise

    async def _claim_and_lock(self) -> None:
        """Claim the key, and lock what has been read; raise TryAgain if either is not possible as it was expected."""
        claim, self.claim = self.claim, None
        if claim and not await self.connection.fetch(*claim, one_row=True):
            raise TryAgain("the idempotency key has been used before")
        for table, versions in self.versions.items():
            if versions and len(await self._unchanged(table, versions)) != len(versions):
                raise TryAgain(CHANGED_MEANWHILE)

    async def _unchanged(self, table: Table, versions: dict[UUID, int]) -> Sequence[Row]:
        """Lock (FOR SHARE) those of the rows that still have these versions, by id, and return the id of each."""
        return await self.connection.fetch(unchanged(table, len(versions)), _numbered(versions))

    async def lock(self, query: LockingSelect, parameters: Parameters) -> Sequence[Row]:
        """Return the rows, locked until the transaction ends.

        If the transaction is optimistic and has no deferred changes, they are not locked, but commit() raises TryAgain
        if they have changed by then. Raise TryAgain at once if one of them has changed since this transaction read it
        before. In any other case errors are those of fetch().
        """
        if not self.is_optimistic or self.deferred:
            return await self.fetch(query.locking, parameters)
        rows = await self.read(query.plain, parameters)
        for row in rows:
            self.remember(query.table, row["id"], row["version"])
        return rows

    def remember(self, table: Table, id: UUID, version: int) -> None:
        """Remember the version of a row that was read without a lock.

        Raise TryAgain if another version of it was read before.
        """
        if self.versions.setdefault(table, {}).setdefault(id, version) != version:
            raise TryAgain(CHANGED_MEANWHILE)

    async def wait_for(self, id: UUID) -> None:
        """Wait for other optimistic transactions of this process that are going to change the row with this id.

        From then on they wait for this one, until it ends. Do nothing unless this is the first thing that an optimistic
        transaction does.
        """
        if self.queue:
            await self.queue.wait_for([id])

    async def read(self, query: Select[Any], parameters: Parameters) -> Sequence[Row]:
        """Return rows without a lock. Only for an optimistic transaction, whose caller then calls remember() for each.

        From now on wait_for() does nothing. If this is the first statement, it is sent a second time on another
        connection if the first had ended.
        """
        if self.queue:
            self.queue.is_closed = True
        if self._connection is None:
            self._connection = await self.database.acquire()
            try:
                return await self._connection.fetch(query, parameters)
            except ConnectionLost:
                self._connection = await self.database.acquire()
        return await self._connection.fetch(query, parameters)

    async def fetch(self, statement: ClauseElement, parameters: Parameters, *, one_row: bool = False) -> Sequence[Row]:
        """Send all deferred changes, then execute a statement and return its rows.

        Before that, begin the transaction of the database if it has not begun; it is no longer optimistic then. Raise
        TryAgain as begin() does, or if a deferred change did not find its row. `one_row` says that the statement
        concerns one row by its key, and so is short; SQLite then executes it on the event
        loop. After any error the transaction can only be rolled back.
        """
        try:
            await self.begin()
            await self._send_deferred()
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

        Raise TryAgain if it returns none, because another unit of work has changed or removed the row; commit() is then
        refused.
        """
        if await self.fetch_one(statement, parameters) is None:
            self.failed = True
            raise TryAgain(CHANGED_MEANWHILE)

    async def defer(self, statement: ClauseElement, parameters: Parameters, *, row: tuple[Table, UUID] | None) -> None:
        """Make a change of one row as change() does, but on PostgreSQL not before the next fetch or the commit.

        All changes deferred until then are sent as one statement, which saves round trips. Errors are raised then. Two
        changes with the same statement are not combined, because they might concern the same row.

        `row` is the table and id of the row if the statement itself checks its version, so that this transaction does
        not check it as well; None for any other statement, such as an INSERT.
        """
        if self.dialect != "postgresql":
            await self.change(statement, parameters)
            return
        if statement in self.deferred:
            await self.begin()
            await self._send_deferred()
        self.deferred[statement] = parameters
        if row:
            table, id = row
            self.versions.get(table, {}).pop(id, None)

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
        """Send deferred changes and commit; do nothing if that is done.

        Raise TryAgain if nothing was stored because another unit of work was first or the connection was found lost
        before anything was sent, Unavailable if it is lost while deferred changes are sent, OutcomeUnknown if it is
        lost during the commit itself, and RuntimeError if a statement has failed before. An optimistic transaction
        sends deferred changes in the commit itself.
        """
        if self.committed:
            return
        if self.failed:
            raise RuntimeError("after an error a unit of work can only be left")
        if self._connection and self._connection.is_closed:
            raise TryAgain("the connection was lost before the commit")
        if not self.is_optimistic:
            await self.begin()
            await self._send_deferred()
        self.committing = True
        try:
            await (self._commit_at_once() if self.is_optimistic else self.connection.execute("COMMIT"))
        except ConnectionLost:
            raise OutcomeUnknown("the connection to the store was lost during the commit") from None
        self.committing = False
        self.committed = True

    async def _commit_at_once(self) -> None:
        """Check what was read, claim the key and make all deferred changes in one statement, a transaction of its own.

        Do nothing if there is none of these. Raise TryAgain, with nothing changed, unless each part finds its rows.
        Raise ConnectionLost if the connection ends meanwhile, so that the changes may or may not be stored, and Busy or
        Unavailable if the first connection is needed and acquire() raises that.
        """
        checks: dict[ClauseElement, Parameters] = {
            unchanged(table, len(seen)): _numbered(seen) for table, seen in self.versions.items() if seen
        }
        claims = {self.claim[0]: self.claim[1]} if self.claim else {}
        changes: dict[ClauseElement, Parameters] = {**claims, **checks, **self.deferred}
        if not changes:
            return
        if self._connection is None:
            self._connection = await self.database.acquire()
        rows = sum(map(len, self.versions.values())) + len(changes) - len(checks)
        await self._connection.execute_combined(changes, exactly=rows)

    async def abandon(self) -> None:
        """End the transaction, if it is not committed, by closing its connection, when there is no time to roll back.

        If COMMIT is running, the connection is closed without a message to the server, which has not answered the
        commit, so that sending another message might hang, too. The one statement of an optimistic transaction may be
        waiting for a lock: the server is told to cancel it, or it might take effect long after the answer.
        """
        if self._connection and not self.committed:
            await self._connection.invalidate(politely=not self.committing or self.is_optimistic)

    async def end(self) -> None:
        """Roll back if the transaction is not committed, and give the connection back; close it if that fails.

        No error of the rollback is raised. Do nothing if no statement was executed.
        """
        if self._connection is None:
            return
        try:
            if not self.committed and not self.is_optimistic and not self._connection.is_closed:
                await self._connection.execute("ROLLBACK")
        except (TryAgain, Unavailable, UnexpectedDriverError):
            await self._connection.invalidate()
        finally:
            self._connection.release()


def _numbered(versions: dict[UUID, int]) -> Parameters:
    """Return the parameters of unchanged() for these ids and versions."""
    parameters: Parameters = {}
    for number, (id, version) in enumerate(versions.items()):
        parameters |= {f"id_{number}": id, f"version_{number}": version}
    return parameters
