"""The StoreStream of the table models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import func, inspect, tuple_
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from application.streaming import Identity, R, Record, SessionToken, StoredKey
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User
from infrastructure.persistence.sqlmodel import rows
from infrastructure.persistence.sqlmodel.models import (
    AttemptsRow,
    ItemRow,
    KeyRow,
    SessionRow,
    TableModel,
    TaskRow,
    TokenRow,
    TransferRow,
    UserRow,
)
from infrastructure.persistence.sqlmodel.orm_sessions import Sessions
from infrastructure.persistence.sqlmodel.upserts import insert_into

T = TypeVar("T", bound=TableModel)


@dataclass(frozen=True, slots=True)
class Mapping:
    """The model of a kind of records, the conversions of its rows, and what is loaded with a row."""

    model: type[TableModel]
    record_from: Callable[[Any], Any]
    row_from: Callable[[Any], TableModel]
    load: tuple[ORMOption, ...] = ()


MAPPINGS: dict[type[Any], Mapping] = {
    User: Mapping(UserRow, rows.user_from, rows.row_from_user),
    Item: Mapping(ItemRow, rows.item_from, rows.row_from_item),
    Transfer: Mapping(TransferRow, rows.transfer_from, rows.row_from_transfer),
    Task: Mapping(TaskRow, rows.task_from, rows.row_from_task),
    Session: Mapping(SessionRow, rows.session_from, rows.row_from_session),
    SessionToken: Mapping(TokenRow, rows.token_from, rows.row_from_token, (joinedload(TokenRow.session),)),
    LoginAttempts: Mapping(AttemptsRow, rows.attempts_from, rows.row_from_attempts),
    StoredKey: Mapping(KeyRow, rows.key_from, rows.row_from_key),
}


class SqlModelStream:
    """Counts, reads and writes all records of the store as they are (port StoreStream)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def count(self, kind: type[Record]) -> int:
        """Return the number of records of this kind."""
        return (await self.sessions.fetch(select(func.count()).select_from(MAPPINGS[kind].model)))[0]

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        """Return up to `limit` records of this kind behind the identity `after`, sorted by their identity.

        With `after` None they begin at the first record.
        """
        mapping = MAPPINGS[kind]
        keys = inspect(mapping.model).primary_key
        position = after if isinstance(after, tuple | None) else (after,)
        statement = page_of(mapping.model, keys, position, limit).options(*mapping.load)
        return [mapping.record_from(row) for row in await self.sessions.fetch(statement)]

    async def history(self, after: tuple[ItemId, int] | None, limit: int) -> list[Transfer]:
        """Return up to `limit` transfers behind `after`, an item id and a number, sorted by these.

        With `after` None they begin at the first transfer.
        """
        keys = col(TransferRow.item_id), col(TransferRow.number)
        return [rows.transfer_from(row) for row in await self.sessions.fetch(page_of(TransferRow, keys, after, limit))]

    async def write(self, records: Sequence[Record]) -> None:
        """Store the records, all of one kind, as they are, in one transaction.

        A stored record with the same identity is replaced. Raise TryAgain if another transaction is in the way, and
        OutcomeUnknown if the connection is lost during the commit.
        """
        if not records:
            return
        mapping = MAPPINGS[type(records[0])]
        async with self.sessions.writing() as transaction:
            values = [mapping.row_from(record).model_dump() for record in records]
            await transaction.session.exec(upsert(transaction.session, mapping.model), params=values)
            await transaction.commit()


def page_of(model: type[T], keys: Sequence[Any], after: tuple[Any, ...] | None, limit: int) -> SelectOfScalar[T]:
    """Return a SELECT of up to `limit` rows behind the position `after`, sorted by the columns `keys`.

    The position is a tuple with a value for each column. With `after` None the rows begin at the first.
    """
    statement = select(model).order_by(*keys).limit(limit)
    return statement if after is None else statement.where(tuple_(*keys) > after)


def upsert(session: AsyncSession, model: type[TableModel]) -> Any:
    """Return an INSERT that replaces rows with the same primary key. The rows are passed when it is executed."""
    insert = insert_into(session, model)
    columns = inspect(model).columns
    return insert.on_conflict_do_update(
        index_elements=[column for column in columns if column.primary_key],
        set_={column.name: insert.excluded[column.name] for column in columns if not column.primary_key},
    )
