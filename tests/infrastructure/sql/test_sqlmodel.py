"""What is the SQLModel adapter's alone: what it loads by how many statements, and the guards of its sessions."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import selectinload
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from application.paging import Sort, Window
from application.readers import ItemFilter, ItemOrder
from application.streaming import SessionToken
from domain.errors import Conflict, NotFound
from domain.user import UserId
from infrastructure.persistence.sqlmodel import SqlModelStore
from infrastructure.persistence.sqlmodel.models import ItemRow, UserRow
from interfaces.certification.overlapping import TRY_AGAIN, attempt, insert
from interfaces.testing.builders import a_session, a_task, a_user, an_item, new_id
from tests.support import engines
from tests.support.engines import RunningEngines
from tests.support.statements import statements_of

SELECTED = [name for name in ("sqlmodel-sqlite", "sqlmodel-postgresql") if name in engines.selected()]


@pytest.fixture(params=SELECTED)
async def store(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[SqlModelStore]:
    _, database = await running_engines.get(request.param)
    assert isinstance(database.store, SqlModelStore)
    yield database.store
    await database.empty()


@pytest.mark.parametrize("number", [1, 40])
async def test_a_page_of_items_is_read_with_its_owners_by_one_statement(number: int, store: SqlModelStore) -> None:
    owners = [a_user() for _ in range(number)]
    await insert(store.begin, *owners, *(an_item(owner) for owner in owners))
    with statements_of(store) as sent:
        page = await store.items.page(ItemFilter(), Sort("id"), Window(limit=100, count=False))
    assert [owned.owner_username for owned in page.items] == [owner.username for owner in owners]
    assert len(sent) == 1


async def test_a_count_is_one_statement_more(store: SqlModelStore) -> None:
    owner = a_user()
    await insert(store.begin, owner, *(an_item(owner) for _ in range(5)))
    with statements_of(store) as sent:
        assert (await store.items.page(ItemFilter(), Sort("id"), Window(limit=2))).total == 5
    assert len(sent) == 2


@pytest.mark.parametrize("store", [name for name in SELECTED if name == "sqlmodel-sqlite"], indirect=True)
async def test_every_page_of_items_is_read_in_the_order_of_an_index(store: SqlModelStore) -> None:
    """The join with the owners does not make SQLite sort, and the owners are found by their ids."""
    owner = a_user()
    await insert(store.begin, owner, an_item(owner))
    filters = [ItemFilter(), ItemFilter(owner.id), ItemFilter(min_price=Decimal(1)), ItemFilter(owner.id, Decimal(1))]
    orders: tuple[ItemOrder, ...] = ("id", "created_at", "price", "name")
    for filter, by, descending in product(filters, orders, (False, True)):
        with statements_of(store) as sent:
            await store.items.page(filter, Sort(by, descending), Window(count=False))
        async with store.database.readers.engine.connect() as connection:
            values = (1,) * sent[0].count("?")
            plan = [row.detail for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sent[0]}", values)]
        items, users = plan
        assert "items USING" in items
        assert users.startswith("SEARCH users")


async def test_tokens_are_read_with_their_sessions_by_one_statement(store: SqlModelStore) -> None:
    user = a_user()
    sessions = [a_session(user) for _ in range(10)]
    await insert(store.begin, user, *sessions)
    with statements_of(store) as sent:
        tokens = await store.stream.read(SessionToken, None, 100)
    assert {token.session_id for token in tokens} == {session.id for session in sessions}
    assert len(sent) == 1


async def test_users_with_their_items_and_tasks_are_read_by_one_statement_for_each_model(store: SqlModelStore) -> None:
    owners = [a_user() for _ in range(10)]
    await insert(store.begin, *owners, *(an_item(o) for o in owners), *(a_task(o) for o in owners))
    statement = select(UserRow).options(selectinload(UserRow.items), selectinload(UserRow.tasks))
    with statements_of(store) as sent:
        users = await store.sessions.fetch(statement)
    assert [(len(user.items), len(user.tasks)) for user in users] == [(1, 1)] * 10
    assert len(sent) == 3


async def test_what_was_not_loaded_is_not_loaded_by_accident(store: SqlModelStore) -> None:
    owner = a_user()
    await insert(store.begin, owner, an_item(owner))
    async with AsyncSession(store.database.readers.engine) as session:
        item = (await session.exec(select(ItemRow))).one()
        with pytest.raises(InvalidRequestError, match="raise"):
            _ = item.owner


async def test_a_row_that_was_locked_is_saved_by_one_statement(store: SqlModelStore) -> None:
    owner = a_user()
    item = an_item(owner)
    await insert(store.begin, owner, item)
    async with store.begin() as uow:
        locked = await uow.items.get_for_update(item.id)
        with statements_of(store) as sent:
            await uow.items.save(replace(locked, name="Lantern", version=2))
        await uow.commit()
    [update] = sent
    assert update.startswith("UPDATE items SET")
    assert "description" not in update  # only what has changed
    assert update.count("version") == 2  # a new one is set if the old one is found


async def test_a_row_that_changed_behind_the_lock_is_not_saved(store: SqlModelStore) -> None:
    """The condition on the version is there even if a lock should ever be missing."""
    owner = a_user()
    item = an_item(owner)
    await insert(store.begin, owner, item)

    async with store.sessions.writing() as transaction:
        session = transaction.session
        row = await session.get(ItemRow, item.id)
        assert row
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE items SET version = 7")
        row.name, row.version = "Lantern", 2
        with pytest.raises(Exception, match="0 were matched"):
            await session.flush()

    assert await attempt(store.begin, lambda uow: uow.items.save(replace(item, version=3))) == TRY_AGAIN
    assert (await store.items.get(item.id)).item == item


async def test_after_an_error_a_unit_of_work_cannot_be_committed(store: SqlModelStore) -> None:
    user = a_user()
    await insert(store.begin, user)
    async with store.begin() as uow:
        await uow.users.add(a_user())
        with pytest.raises(Conflict):
            await uow.users.add(a_user(email=user.email))
        with pytest.raises(RuntimeError, match="can only be left"):
            await uow.commit()


async def test_after_a_conflict_a_unit_of_work_cannot_be_committed(store: SqlModelStore) -> None:
    user, newcomer = a_user(), a_user()
    await insert(store.begin, user)
    async with store.begin() as uow:
        await uow.users.add(newcomer)
        with pytest.raises(Exception, match="another unit of work was first"):
            await uow.users.save(replace(user, version=9))
        with pytest.raises(InvalidRequestError):
            await uow.commit()
    with pytest.raises(NotFound):
        await store.users.get(newcomer.id)


async def test_a_refusal_leaves_a_unit_of_work_usable(store: SqlModelStore) -> None:
    user = a_user()
    async with store.begin() as uow:
        with pytest.raises(NotFound):
            await uow.users.get_for_update(UserId(new_id()))
        await uow.users.add(user)
        await uow.commit()
    assert await store.users.get(user.id) == user
