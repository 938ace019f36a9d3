"""The transaction under a unit of work: one connection, and the ways in which it ends."""

from collections.abc import Sequence

from sqlalchemy import ClauseElement

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from infrastructure.persistence.sqlalchemy.engines.compiled import Parameters
from infrastructure.persistence.sqlalchemy.engines.database import Loan
from infrastructure.persistence.sqlalchemy.engines.errors import ConnectionLost, Unexpected
from infrastructure.persistence.sqlalchemy.rows import Row


class Transaction:
    """After an error it can only be undone: what PostgreSQL demands holds for SQLite too."""

    def __init__(self, loan: Loan) -> None:
        self.loan = loan
        self.dialect = loan.database.dialect.name
        self.waiting: dict[ClauseElement, Parameters] = {}
        self.failed = False
        self.committing = False
        self.committed = False

    async def rows(self, statement: ClauseElement, parameters: Parameters, *, one: bool = False) -> Sequence[Row]:
        await self._send_waiting()
        try:
            return await self.loan.rows(statement, parameters, one=one)
        except BaseException:
            self.failed = True
            raise

    async def row(self, statement: ClauseElement, parameters: Parameters) -> Row | None:
        """By its key."""
        rows = await self.rows(statement, parameters, one=True)
        return rows[0] if rows else None

    async def change(self, statement: ClauseElement, parameters: Parameters) -> None:
        """One row, which the statement returns. If it is not there as it was, another unit of work was first."""
        if await self.row(statement, parameters) is None:
            self.failed = True
            raise TryAgain("another unit of work was first")

    async def change_soon(self, statement: ClauseElement, parameters: Parameters) -> None:
        """As change(), but where the engine can do that in one statement with the changes that follow."""
        if self.dialect != "postgresql":
            await self.change(statement, parameters)
            return
        if statement in self.waiting:
            await self._send_waiting()
        self.waiting[statement] = parameters

    async def _send_waiting(self) -> None:
        changes, self.waiting = self.waiting, {}
        if not changes:
            return
        try:
            changed = await self.loan.count(changes)
        except BaseException:
            self.failed = True
            raise
        if changed != len(changes):
            self.failed = True
            raise TryAgain("another unit of work was first")

    async def commit(self) -> None:
        if self.failed:
            raise RuntimeError("after an error a unit of work can only be left")
        if self.loan.is_closed:
            raise TryAgain("the connection was lost before the commit")
        await self._send_waiting()
        self.committing = True
        try:
            await self.loan.command("COMMIT")
        except ConnectionLost:
            raise OutcomeUnknown("the connection to the store was lost during the commit") from None
        self.committing = False
        self.committed = True

    async def abandon(self) -> None:
        """When the time is up there is none for a ROLLBACK either: the end of the connection undoes as much."""
        if not self.committed:
            await self.loan.drop(politely=not self.committing)  # if that hangs, it would do so again

    async def end(self) -> None:
        try:
            if not self.committed and not self.loan.is_closed:
                await self.loan.command("ROLLBACK")
        except (TryAgain, Unavailable, Unexpected):
            await self.loan.drop()
        finally:
            self.loan.give_back()
