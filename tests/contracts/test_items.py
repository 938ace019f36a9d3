"""Of concurrent transfers or changes of one item exactly one succeeds, and items are stored as they are given."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from application.paging import Window
from application.ports import Begin, UnitOfWork
from application.readers import ItemReader, OwnedItem
from application.store import Store
from application.use_cases.items import TransferItem
from domain.errors import Forbidden, NotFound
from domain.item import Item, ItemId
from domain.user import User, UserId
from interfaces.certification import another_process
from interfaces.certification.database import Database
from interfaces.certification.overlapping import (
    COMMITTED,
    LIMIT,
    TRY_AGAIN,
    Meanwhile,
    attempt,
    insert,
    overlap,
    overlap_with,
)
from interfaces.testing.builders import a_user, an_item, new_id


@pytest.mark.parametrize(
    "fields",
    [
        {"price": Decimal("0.00")},
        {"price": Decimal("0.10")},
        {"price": Decimal("0.29")},
        {"price": Decimal("1.15")},
        {"price": Decimal("4503599627.37")},
        {"price": Decimal("9999999999.99")},
        {"name": "💡" * 200},
        {"name": "e\u0301 is not é"},
        {"name": " spaces, 'quotes', \"more\", \\ and % _ $1 :name "},
        {"name": "\u202eright to left\ufeff"},
        {"description": None},
        {"description": ""},
        {"description": "several\r\nlines\t\u2028 of text"},
        {"description": "ä" * 2_000},
        {"created_at": datetime(2026, 3, 29, 1, 30, 0, 1_000, tzinfo=UTC)},
        {"version": 7, "transfers": 3},
        {"version": 2_147_483_647},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
async def test_an_item_comes_back_as_it_was(fields: dict[str, Any], ada: User, begin: Begin, items: ItemReader) -> None:
    item = an_item(ada, **fields)
    await insert(begin, item)

    read = await items.get(item.id)
    assert read == OwnedItem(item, ada.username)
    assert (str(read.item.price), type(read.item.price)) == (str(item.price), Decimal)
    assert read.item.created_at.utcoffset() == timedelta(0)
    async with begin() as uow:
        locked = await uow.items.get_for_update(item.id)
    assert locked == item
    assert (str(locked.price), type(locked.price)) == (str(item.price), Decimal)
    assert locked.created_at.utcoffset() == timedelta(0)


async def test_a_changed_item_comes_back_changed(
    ada: User, grace: User, lamp: Item, begin: Begin, items: ItemReader
) -> None:
    changed = replace(
        lamp, name="Lantern", description=None, price=Decimal("0.10"), owner_id=grace.id, version=2, transfers=1
    )
    async with begin() as uow:
        await uow.items.get_for_update(lamp.id)
        await uow.items.save(changed)
        assert await uow.items.get_for_update(lamp.id) == changed
        await uow.commit()
    assert await items.get(lamp.id) == OwnedItem(changed, grace.username)


async def test_other_items_stay_as_they_are(ada: User, lamp: Item, begin: Begin, items: ItemReader) -> None:
    other = an_item(ada)
    await insert(begin, other)
    async with begin() as uow:
        await uow.items.save(replace(await uow.items.get_for_update(lamp.id), name="Lantern", version=2))
        await uow.commit()
    assert (await items.get(other.id)).item == other


async def test_no_such_item(begin: Begin) -> None:
    with pytest.raises(NotFound) as refusal:
        async with begin() as uow:
            await uow.items.get_for_update(ItemId(new_id()))
    assert refusal.value.code == "item-not-found"


async def test_an_item_is_locked_with_users(ada: User, grace: User, lamp: Item, begin: Begin) -> None:
    nobody, nothing = UserId(new_id()), ItemId(new_id())
    async with begin() as uow:
        assert await uow.lock_item(lamp.id, ada.id, grace.id) == (lamp, {ada.id: ada, grace.id: grace})
        assert await uow.lock_item(lamp.id, nobody, ada.id, ada.id) == (lamp, {ada.id: ada})
        assert await uow.lock_item(lamp.id, nobody) == (lamp, {})
        assert await uow.lock_item(nothing, ada.id) == (None, {ada.id: ada})
        assert await uow.lock_item(nothing, nobody) == (None, {})
        assert await uow.lock_item(lamp.id) == (lamp, {})


async def test_a_removed_item_is_gone(lamp: Item, begin: Begin, store: Store) -> None:
    async with begin() as uow:
        await uow.items.remove(await uow.items.get_for_update(lamp.id))
        await uow.commit()

    with pytest.raises(NotFound):
        await store.items.get(lamp.id)
    with pytest.raises(NotFound):
        await store.transfers.page(lamp.id, Window())
    with pytest.raises(NotFound):
        async with begin() as uow:
            await uow.items.get_for_update(lamp.id)


# Versions


async def rename(uow: UnitOfWork, item_id: ItemId, name: str) -> None:
    item = await uow.items.get_for_update(item_id)
    await uow.items.save(replace(item, name=name, version=item.version + 1))


async def test_an_outdated_item_is_not_saved(lamp: Item, begin: Begin, items: ItemReader) -> None:
    await attempt(begin, lambda uow: rename(uow, lamp.id, "first"))
    needs_rehash = replace(lamp, name="second", version=2)
    assert await attempt(begin, lambda uow: uow.items.save(needs_rehash)) == TRY_AGAIN
    assert (await items.get(lamp.id)).item == replace(lamp, name="first", version=2)


async def test_an_outdated_item_is_not_removed(lamp: Item, begin: Begin, items: ItemReader) -> None:
    await attempt(begin, lambda uow: rename(uow, lamp.id, "first"))
    assert await attempt(begin, lambda uow: uow.items.remove(lamp)) == TRY_AGAIN
    assert (await items.get(lamp.id)).item.name == "first"


@pytest.mark.parametrize("change", ["save", "remove"])
async def test_a_removed_item_is_not_changed(change: str, lamp: Item, begin: Begin, items: ItemReader) -> None:
    await attempt(begin, lambda uow: uow.items.remove(lamp))

    async def change_it(uow: UnitOfWork) -> None:
        if change == "save":
            await uow.items.save(replace(lamp, version=2))
        else:
            await uow.items.remove(lamp)

    assert await attempt(begin, change_it) == TRY_AGAIN
    with pytest.raises(NotFound):
        await items.get(lamp.id)


async def test_one_unit_may_change_an_item_twice(lamp: Item, begin: Begin, items: ItemReader) -> None:
    async with begin() as uow:
        await rename(uow, lamp.id, "first")
        await rename(uow, lamp.id, "second")
        await uow.commit()
    assert (await items.get(lamp.id)).item == replace(lamp, name="second", version=3)


# Units that overlap: one waits, or is to be tried again


@pytest.mark.parametrize("pause", ["after reading", "after writing"])
async def test_of_overlapping_changes_none_is_lost(pause: str, lamp: Item, begin: Begin, items: ItemReader) -> None:
    async def rename_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        item = await uow.items.get_for_update(lamp.id)
        if pause == "after reading":
            await meanwhile()
        await uow.items.save(replace(item, name=f"{item.name}, slowly", version=item.version + 1))
        if pause == "after writing":
            await meanwhile()

    async def rename_quickly(uow: UnitOfWork) -> None:
        item = await uow.items.get_for_update(lamp.id)
        await uow.items.save(replace(item, name=f"{item.name}, quickly", version=item.version + 1))

    ended = await overlap(begin, rename_slowly, rename_quickly)

    assert ended.committed >= 1
    item = (await items.get(lamp.id)).item
    assert item.version == 1 + ended.committed
    assert item.name.count(",") == ended.committed


@pytest.mark.parametrize("pause", ["after reading", "after writing"])
async def test_an_item_is_either_removed_or_changed(pause: str, lamp: Item, begin: Begin, items: ItemReader) -> None:
    async def remove_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        item = await uow.items.get_for_update(lamp.id)
        if pause == "after reading":
            await meanwhile()
        await uow.items.remove(item)
        if pause == "after writing":
            await meanwhile()

    ended = await overlap(begin, remove_slowly, lambda uow: rename(uow, lamp.id, "Lantern"))

    assert ended.committed == 1
    if ended.first == COMMITTED:
        assert ended.second in {TRY_AGAIN, "item-not-found"}
        with pytest.raises(NotFound):
            await items.get(lamp.id)
    else:
        assert (await items.get(lamp.id)).item.name == "Lantern"


async def test_what_is_locked_but_not_changed_is_not_changed_by_others(lamp: Item, begin: Begin) -> None:
    """Or whoever did so is the one that is kept."""

    async def look(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        before = await uow.items.get_for_update(lamp.id)
        await meanwhile()
        assert await uow.items.get_for_update(lamp.id) == before

    ended = await overlap(begin, look, lambda uow: rename(uow, lamp.id, "Lantern"))
    assert ended.committed >= 1
    assert (ended.meanwhile, ended.first) != (COMMITTED, COMMITTED)


@pytest.mark.parametrize("change", ["rename", "deactivate"])
async def test_what_is_locked_is_not_changed_by_another_process(
    change: str, ada: User, grace: User, lamp: Item, database: Database
) -> None:
    """Processes share no locks but those of the store. A store of one process has no other."""
    begin, gift = database.store.begin, an_item(grace)

    async def look(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.lock_item(lamp.id, ada.id, grace.id)
        await meanwhile()
        await uow.items.add(gift)

    async def change_here(uow: UnitOfWork) -> None:
        if change == "rename":
            await another_process.rename(uow, lamp.id)
        else:
            await another_process.deactivate(uow, grace.id)

    if database.store.capabilities.processes == "one":
        ended = await overlap(begin, look, change_here)
    else:
        changed = str(lamp.id if change == "rename" else grace.id)
        async with another_process.started(database.settings, f"{change}-when-told", changed) as process:
            assert await another_process.says(process) == "ready"
            ended = await overlap_with(begin, look, lambda: another_process.tell(process), pause=1)

    assert ended.committed >= 1
    assert (ended.meanwhile, ended.first) != (COMMITTED, COMMITTED)


async def test_changes_of_different_items_are_all_kept(ada: User, lamp: Item, begin: Begin, items: ItemReader) -> None:
    other = an_item(ada)
    await insert(begin, other)

    async def rename_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await rename(uow, lamp.id, "first")
        await meanwhile()

    ended = await overlap(begin, rename_slowly, lambda uow: rename(uow, other.id, "second"))

    assert ended.committed == 2
    assert [(await items.get(item.id)).item.name for item in (lamp, other)] == ["first", "second"]


# Transfers


async def test_of_many_who_transfer_one_item_one_wins(
    ada: User, lamp: Item, begin: Begin, store: Store, transfer_item: TransferItem
) -> None:
    people = [a_user() for _ in range(20)]
    await insert(begin, *people)

    async with asyncio.timeout(LIMIT):
        outcomes = await asyncio.gather(
            *(transfer_item(lamp.id, by=ada.id, to=user.id) for user in people), return_exceptions=True
        )

    assert Counter(map(type, outcomes)) == {OwnedItem: 1, Forbidden: 19}
    winner = next(outcome for outcome in outcomes if isinstance(outcome, OwnedItem))
    assert await store.items.get(lamp.id) == winner
    assert winner.item == replace(lamp, owner_id=winner.item.owner_id, version=2, transfers=1)
    history = await store.transfers.page(lamp.id, Window())
    assert [(t.number, t.version, t.from_user_id, t.to_user_id) for t in history.items] == [
        (1, 2, ada.id, winner.item.owner_id)
    ]


async def test_an_item_handed_around_by_all_keeps_its_whole_history(
    ada: User, grace: User, lamp: Item, store: Store, transfer_item: TransferItem
) -> None:
    """Four clients each try six times to pass it on, whoever has it now."""

    async def client() -> int:
        succeeded = 0
        for attempt_number in range(6):
            by, to = (ada, grace) if attempt_number % 2 else (grace, ada)
            with suppress(Forbidden):
                await transfer_item(lamp.id, by=by.id, to=to.id)
                succeeded += 1
        return succeeded

    async with asyncio.timeout(LIMIT):
        succeeded = sum(await asyncio.gather(*(client() for _ in range(4))))

    item = (await store.items.get(lamp.id)).item
    history = (await store.transfers.page(lamp.id, Window(limit=100))).items
    assert (item.transfers, item.version, len(history)) == (succeeded, succeeded + 1, succeeded)
    assert [t.number for t in history] == list(range(1, succeeded + 1))
    owners = [ada.id, *(t.to_user_id for t in history)]
    assert [t.from_user_id for t in history] == owners[:-1]
    assert item.owner_id == owners[-1]


async def test_two_who_give_to_each_other_do_not_lock_each_other_out(
    ada: User, grace: User, lamp: Item, begin: Begin, transfer_item: TransferItem
) -> None:
    other = an_item(grace)
    await insert(begin, other)
    async with asyncio.timeout(LIMIT):
        for _ in range(3):
            await asyncio.gather(
                transfer_item(lamp.id, by=ada.id, to=grace.id), transfer_item(other.id, by=grace.id, to=ada.id)
            )
            await asyncio.gather(
                transfer_item(lamp.id, by=grace.id, to=ada.id), transfer_item(other.id, by=ada.id, to=grace.id)
            )
