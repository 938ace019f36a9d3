"""The StoreStream of the SQL tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from application.streaming import Identity, R, Record, SessionToken, StoredKey
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User
from infrastructure.persistence.sqlalchemy import rows
from infrastructure.persistence.sqlalchemy.engines.database import Database
from infrastructure.persistence.sqlalchemy.engines.transaction import Transaction
from infrastructure.persistence.sqlalchemy.tables import (
    idempotency_keys,
    items,
    login_attempts,
    session_tokens,
    sessions,
    tasks,
    transfers,
    users,
)

INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
BATCH = 500
"""Rows per statement. SQLite and PostgreSQL allow about 32,000 parameters, of which a row needs up to nine."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """The table of a kind of records, and the conversions of its rows."""

    table: Table
    record_from: Callable[[rows.Row], Any]
    row_from: Callable[[Any], dict[str, Any]]


MAPPINGS: dict[type[Any], Mapping] = {
    User: Mapping(users, rows.user_from, rows.row_from_user),
    Item: Mapping(items, rows.item_from, rows.row_from_item),
    Transfer: Mapping(transfers, rows.transfer_from, rows.row_from_transfer),
    Task: Mapping(tasks, rows.task_from, rows.row_from_task),
    Session: Mapping(sessions, rows.session_from, rows.row_from_session),
    SessionToken: Mapping(session_tokens, rows.token_from, rows.row_from_token),
    LoginAttempts: Mapping(login_attempts, rows.attempts_from, rows.row_from_attempts),
    StoredKey: Mapping(idempotency_keys, rows.key_from, rows.row_from_key),
}


@cache
def count_of(table: Table) -> Select[Any]:
    """Return the statement that counts the rows of a table, as the column `count`."""
    return select(func.count().label("count")).select_from(table)


@cache
def page_of(table: Table, *, after: bool) -> Select[Any]:
    """Return the statement for up to `limit` rows of a table, sorted by the primary key.

    With `after=True` they begin behind the key in the parameters `after_0`, `after_1`, and so on, otherwise at the
    first row. Session tokens also have the columns `user_id` and `expires_at` of their session, NULL if it is missing.
    """
    keys = [*table.primary_key.columns]
    statement: Select[Any] = select(table)
    if table is session_tokens:
        statement = select(table, sessions.c.user_id, sessions.c.expires_at).outerjoin(sessions)
    if after:
        position = (bindparam(f"after_{number}", type_=key.type) for number, key in enumerate(keys))
        statement = statement.where(tuple_(*keys) > tuple_(*position))
    return statement.order_by(*keys).limit(bindparam("limit"))


@cache
def history_page(*, after: bool) -> Select[Any]:
    """Return the statement for up to `limit` transfers, sorted by item and number.

    With `after=True` they begin behind the parameters `item_id` and `number`, otherwise at the first transfer.
    """
    keys = transfers.c.item_id, transfers.c.number
    statement = select(transfers)
    if after:
        position = (bindparam(key.name, type_=key.type) for key in keys)
        statement = statement.where(tuple_(*keys) > tuple_(*position))
    return statement.order_by(*keys).limit(bindparam("limit"))


@cache
def upsert(table: Table, dialect: str, count: int) -> Any:
    """Return a statement that stores so many rows, replacing those with the same primary key.

    Its parameters are the columns of each row, numbered by row: `id_0`, `name_0`, `id_1`, and so on.
    """
    values = [
        {column.name: bindparam(f"{column.name}_{number}", type_=column.type) for column in table.c}
        for number in range(count)
    ]
    insert = INSERT[dialect](table).values(values)
    changed = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[*table.primary_key.columns], set_=changed)


class SqlStream:
    """Counts, reads and writes all records of the store as they are (port StoreStream)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def count(self, kind: type[Record]) -> int:
        """Return the number of records of this kind."""
        [row] = await self.database.fetch(count_of(MAPPINGS[kind].table), {})
        return int(row["count"])

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        """Return up to `limit` records of this kind behind the identity `after`, sorted by their identity.

        With `after` None they begin at the first record.
        """
        parameters: dict[str, Any] = {"limit": limit}
        if after is not None:
            parts = after if isinstance(after, tuple) else (after,)
            parameters |= {f"after_{number}": part for number, part in enumerate(parts)}
        mapping = MAPPINGS[kind]
        found = await self.database.fetch(page_of(mapping.table, after=after is not None), parameters)
        return [mapping.record_from(row) for row in found]

    async def history(self, after: tuple[ItemId, int] | None, limit: int) -> list[Transfer]:
        """Return up to `limit` transfers behind `after`, an item id and a number, sorted by these.

        With `after` None they begin at the first transfer.
        """
        parameters: dict[str, Any] = {"limit": limit}
        if after is not None:
            parameters |= {"item_id": after[0], "number": after[1]}
        found = await self.database.fetch(history_page(after=after is not None), parameters)
        return [rows.transfer_from(row) for row in found]

    async def write(self, records: Sequence[Record]) -> None:
        """Store the records, all of one kind, as they are, in one transaction.

        A stored record with the same identity is replaced. Raise TryAgain if another transaction is in the way, and
        OutcomeUnknown if the connection is lost during the commit.
        """
        transaction = Transaction(self.database)
        try:
            for start in range(0, len(records), BATCH):
                batch = records[start : start + BATCH]
                mapping = MAPPINGS[type(batch[0])]
                values = [mapping.row_from(record) for record in batch]
                parameters = {f"{name}_{n}": value for n, row in enumerate(values) for name, value in row.items()}
                await transaction.fetch(upsert(mapping.table, transaction.dialect, len(batch)), parameters)
            await transaction.commit()
        finally:
            await transaction.end()
