"""Readers return committed data only, and do not wait for units of work."""

import asyncio
from dataclasses import replace

import pytest

from application.paging import Window
from application.ports import Begin
from application.readers import ItemReader, UserReader
from application.store import Store
from application.use_cases.items import TransferItem
from domain.errors import NotFound
from domain.item import Item, ItemId
from domain.user import User, UserId
from interfaces.certification.overlapping import LIMIT, insert
from interfaces.testing.builders import a_transfer, a_user, new_id


async def test_no_such_user(users: UserReader) -> None:
    with pytest.raises(NotFound) as refusal:
        await users.get(UserId(new_id()))
    assert refusal.value.code == "user-not-found"


async def test_no_such_item(items: ItemReader) -> None:
    with pytest.raises(NotFound) as refusal:
        await items.get(ItemId(new_id()))
    assert refusal.value.code == "item-not-found"


async def test_an_item_is_read_with_its_owner(ada: User, lamp: Item, items: ItemReader) -> None:
    owned = await items.get(lamp.id)
    assert (owned.item, owned.owner_username) == (lamp, ada.username)


async def test_a_login_is_an_email_address_or_a_username(begin: Begin, users: UserReader) -> None:
    one = a_user(email="ada@example.org", username="grace")
    other = a_user(email="grace@example.org", username="ada")
    await insert(begin, one, other)
    assert await users.find_by_login("ada@example.org") == one
    assert await users.find_by_login("grace") == one
    assert await users.find_by_login("ada") == other


@pytest.mark.parametrize(
    "login", ["", "@", "nobody", "nobody@example.org", "ADA", "ada ", "ad_", "ad%", "ada@", "' OR ''='", "x" * 10_000]
)
async def test_nobody_has_another_login(login: str, begin: Begin, users: UserReader) -> None:
    await insert(begin, a_user(email="ada@example.org", username="ada"))
    assert await users.find_by_login(login) is None


async def test_readers_neither_see_an_open_unit_nor_wait_for_it(
    ada: User, grace: User, lamp: Item, begin: Begin, store: Store
) -> None:
    async with begin() as uow:
        await uow.users.hold(ada.id, grace.id)
        item = await uow.items.get_for_update(lamp.id)
        await uow.items.save(replace(item, owner_id=grace.id, version=2, transfers=1))
        await uow.transfers.add(a_transfer(lamp, grace))
        user = await uow.users.get_for_update(ada.id)
        await uow.users.save(replace(user, email="new@example.org", version=2))

        async with asyncio.timeout(LIMIT):
            owned = await store.items.get(lamp.id)
            assert (owned.item, owned.owner_username) == (lamp, ada.username)
            assert (await store.transfers.page(lamp.id, Window())).items == []
            assert await store.users.get(ada.id) == ada
            assert await store.users.find_by_login("new@example.org") is None
            assert (await store.schema()).is_current
        await uow.commit()

    owned = await store.items.get(lamp.id)
    assert (owned.item.version, owned.owner_username) == (2, grace.username)
    assert len((await store.transfers.page(lamp.id, Window())).items) == 1


async def test_readers_do_not_wait_for_the_first_of_many_units(
    ada: User, lamp: Item, begin: Begin, store: Store
) -> None:
    """Units that wait for one another hold connections; readers have their own way in."""
    end = asyncio.Event()

    async def stay() -> None:
        async with begin() as uow:
            await uow.items.get_for_update(lamp.id)
            await end.wait()

    waiting = [asyncio.create_task(stay()) for _ in range(4)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(store.items.get(lamp.id) for _ in range(20)))
        await store.users.get(ada.id)
    end.set()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_readers_see_each_transfer_whole(
    ada: User, grace: User, lamp: Item, store: Store, transfer_item: TransferItem
) -> None:
    """An owner with the name of the other, or a history behind its item, is half of one."""
    names = {ada.id: ada.username, grace.id: grace.username}
    looks = []

    async def hand_around() -> None:
        for _ in range(10):
            await transfer_item(lamp.id, by=ada.id, to=grace.id)
            await transfer_item(lamp.id, by=grace.id, to=ada.id)

    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(hand_around())
        while not writing.done():
            before = await store.transfers.page(lamp.id, Window(limit=100))
            owned = await store.items.get(lamp.id)
            after = await store.transfers.page(lamp.id, Window(limit=100))
            looks.append((before.items, owned, after.items))
            await asyncio.sleep(0)  # memory never makes anybody wait

    assert len(looks) > 1
    for earlier, owned, later in looks:
        assert owned.owner_username == names[owned.item.owner_id]
        assert len(earlier) <= owned.item.transfers <= len(later)
        assert owned.item.version == owned.item.transfers + 1
        owners = [ada.id, *(t.to_user_id for t in later)]
        assert owned.item.owner_id == owners[owned.item.transfers]


async def test_readers_keep_up_with_commits(ada: User, lamp: Item, begin: Begin, items: ItemReader) -> None:
    """Whoever was told of a commit reads it, however often and wherever they read before."""
    for version in range(2, 12):
        async with begin() as uow:
            item = await uow.items.get_for_update(lamp.id)
            await uow.items.save(replace(item, name=f"Lamp {version}", version=version))
            await uow.commit()
        read = await asyncio.gather(*(items.get(lamp.id) for _ in range(3)))
        assert [owned.item.version for owned in read] == [version] * 3
