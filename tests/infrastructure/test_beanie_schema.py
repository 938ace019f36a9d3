"""MongoDB's schema: from nothing and from each revision to the newest, and back by one at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from application.errors import Busy, Unavailable
from application.paging import Sort, Window
from application.readers import ItemFilter, ItemOrder
from application.store import Store
from infrastructure.persistence.beanie import schema
from infrastructure.persistence.beanie.documents import DOCUMENTS
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import a_session, a_task, a_transfer, a_user, an_item
from tests.support import engines
from tests.support.engines import RunningEngines

SELECTED = [name for name in ("mongodb",) if name in engines.selected()]

Indexes = dict[str, set[str]]

FIRST: Indexes = {
    "users": {"_id_", "users_email", "users_username"},
    "items": {"_id_", "items_owner_id"},
    "transfers": {"_id_", "transfers_item_id_number"},
    "keys": {"_id_"},
}


def newest() -> Indexes:
    """As the documents say."""
    return {
        document.get_collection_name(): {"_id_", *(index.name for index in document.get_settings().indexes)}
        for document in DOCUMENTS
    }


@dataclass(frozen=True)
class Empty:
    """A database without a schema."""

    store: Store
    database: AsyncDatabase[dict[str, Any]]

    async def indexes(self) -> Indexes:
        names = await self.database.list_collection_names(filter={"name": {"$ne": "schema"}})
        return {name: set(await self.database[name].index_information()) for name in names}

    async def record(self, revision: str | None) -> None:
        if revision is None:
            await self.database["schema"].delete_one({})
        else:
            await self.database["schema"].update_one({}, {"$set": {"is": revision}})


@pytest.fixture(params=SELECTED)
async def empty(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Empty]:
    new_database, _ = await running_engines.get(request.param)
    async with new_database() as made:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(made.settings.database_url)
        async with client:
            yield Empty(made.store, client.get_default_database())


async def test_up_and_down_and_up_again(empty: Empty) -> None:
    store = empty.store
    assert (await store.schema()).found is None
    assert await empty.indexes() == {}

    await store.upgrade()
    assert (await store.schema()).found == "2"
    assert await empty.indexes() == newest()

    await store.downgrade()
    assert (await store.schema()).found == "1"
    assert not (await store.schema()).is_current
    assert await empty.indexes() == FIRST

    await store.upgrade()
    assert (await store.schema()).is_current
    assert await empty.indexes() == newest()

    await store.downgrade()
    await store.downgrade()
    assert (await store.schema()).found is None
    assert await empty.indexes() == {}
    await store.downgrade()


async def test_only_what_is_new_goes(empty: Empty) -> None:
    store = empty.store
    await store.upgrade()
    ada, grace = a_user(), a_user()
    lamp = an_item(ada, version=2, transfers=1)
    transfer = a_transfer(lamp, ada, number=1, from_user_id=grace.id, version=2)
    task, session = a_task(ada), a_session(ada)
    await insert(store.begin, ada, grace, lamp, transfer, task, session)

    await store.downgrade()
    await store.upgrade()

    assert await store.users.get(ada.id) == ada
    assert (await store.items.get(lamp.id)).item == lamp
    assert (await store.transfers.page(lamp.id, Window())).items == [transfer]
    assert await empty.database["tasks"].count_documents({}) == 0
    async with store.begin() as uow:
        assert await uow.sessions.find(session.token_hash) is None


async def test_an_upgrade_that_was_cut_short_is_done_by_the_next(empty: Empty) -> None:
    store = empty.store
    for recorded in (None, "1"):
        await store.upgrade()
        await empty.record(recorded)
        await empty.database.drop_collection("attempts")
        await empty.database["tasks"].drop_indexes()
        await empty.database["items"].drop_index("items_owner_id_name")

        await store.upgrade()
        assert (await store.schema()).is_current
        assert await empty.indexes() == newest()


async def test_a_downgrade_that_was_cut_short_leaves_nothing_in_the_way(empty: Empty) -> None:
    store = empty.store
    await store.upgrade()
    await empty.record("1")
    await empty.database.drop_collection("attempts")

    await store.downgrade()
    assert (await store.schema()).found is None
    assert await empty.indexes() == {}


async def test_a_removal_of_everything_that_was_cut_short_is_finished_by_the_next(
    empty: Empty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_ATTEMPTS", 1)
    store = empty.store
    await store.upgrade()
    await store.downgrade()
    async with empty.database.client.start_session() as session, await session.start_transaction():
        await empty.database["transfers"].insert_one({"item_id": 1, "number": 1}, session=session)
        with pytest.raises(Busy, match="then run it again"):
            await store.downgrade()

    await store.downgrade()
    assert (await store.schema()).found is None
    assert await empty.indexes() == {}


async def test_a_revision_of_the_future_is_left_alone(empty: Empty) -> None:
    store = empty.store
    await store.upgrade()
    await empty.record("3")

    for change in store.upgrade, store.downgrade:
        with pytest.raises(Unavailable, match="revision 3, of which this version of Handover knows nothing"):
            await change()

    assert (await store.schema()).found == "3"
    assert await empty.indexes() == newest()


async def test_a_list_whose_index_is_missing_is_unavailable(empty: Empty) -> None:
    store = empty.store
    await store.upgrade()
    await store.downgrade()
    by_price: Sort[ItemOrder] = Sort("price", descending=True)

    assert (await store.items.page(ItemFilter(), Sort("id"), Window())).items == []
    with pytest.raises(Unavailable, match="lacks an index: run 'handover migrate up'"):
        await store.items.page(ItemFilter(), by_price, Window())

    await store.upgrade()
    assert (await store.items.page(ItemFilter(), by_price, Window())).items == []
