"""The readers: one statement each, outside any transaction. All statements are built once."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, null, select, true

from application.paging import Page, Window
from application.readers import OwnedItem
from domain.errors import NotFound
from domain.item import ItemId, Transfer
from domain.user import User, UserId
from infrastructure.persistence.sqlalchemy.database import Database
from infrastructure.persistence.sqlalchemy.pages import counted, page_from, paged, window_parameters
from infrastructure.persistence.sqlalchemy.rows import item_from, transfer_from, user_from
from infrastructure.persistence.sqlalchemy.tables import items, transfers, users

USER = select(users).where(users.c.id == bindparam("id"))
USER_BY_EMAIL = select(users).where(users.c.email == bindparam("login"))
USER_BY_USERNAME = select(users).where(users.c.username == bindparam("login"))
ITEM = (
    select(items, users.c.username.label("owner_username"))
    .join(users, users.c.id == items.c.owner_id)
    .where(items.c.id == bindparam("id"))
)


@cache
def history(*, after: bool, count: bool) -> Select[Any]:
    """A row for the item in any case, so that an empty page can be told from an item that is gone."""
    rows = select(transfers).where(transfers.c.item_id == bindparam("item_id"))
    page = paged(rows, transfers.c.number, transfers.c.id, after=after).subquery("page")
    total = counted(rows) if count else null()
    return (
        select(total.label("total"), page)
        .select_from(items.outerjoin(page, true()))
        .where(items.c.id == bindparam("item_id"))
        .order_by(page.c.number)
    )


class SqlUserReader:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, user_id: UserId) -> User:
        rows = await self.database.fetch(USER, {"id": user_id})
        if not rows:
            raise NotFound("user-not-found", "there is no such user")
        return user_from(rows[0])

    async def by_login(self, login: str) -> User | None:
        statement = USER_BY_EMAIL if "@" in login else USER_BY_USERNAME
        rows = await self.database.fetch(statement, {"login": login})
        return user_from(rows[0]) if rows else None


class SqlItemReader:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, item_id: ItemId) -> OwnedItem:
        rows = await self.database.fetch(ITEM, {"id": item_id})
        if not rows:
            raise NotFound("item-not-found", "there is no such item")
        return OwnedItem(item_from(rows[0]), rows[0]["owner_username"])


class SqlTransferReader:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def of_item(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        statement = history(after=window.after is not None, count=window.count)
        rows = await self.database.fetch(statement, window_parameters(window) | {"item_id": item_id})
        if not rows:
            raise NotFound("item-not-found", "there is no such item")
        found = [row for row in rows if row["id"] is not None]
        return page_from(found, transfer_from, window, rows[0]["total"])
