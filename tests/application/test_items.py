from decimal import Decimal

import pytest

from application.paging import Window
from application.ports import Begin, Ids
from application.readers import OwnedItem
from application.store import Store
from application.transact import Transact
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem, TransferItem
from domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, Stale, Unauthenticated
from domain.item import ItemId
from domain.user import User, UserId
from domain.version import ExpectedVersions
from interfaces.testing.builders import NOON, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock


@pytest.fixture
def create_item(transact: Transact, ids: Ids, clock: SetClock) -> CreateItem:
    return CreateItem(transact, ids, clock)


@pytest.fixture
def transfer_item(transact: Transact, ids: Ids, clock: SetClock) -> TransferItem:
    return TransferItem(transact, ids, clock)


@pytest.fixture
async def ada(begin: Begin) -> User:
    return await signed_up(begin)


@pytest.fixture
async def grace(begin: Begin) -> User:
    return await signed_up(begin)


async def signed_up(begin: Begin, *, is_active: bool = True) -> User:
    user = a_user(is_active=is_active)
    async with begin() as uow:
        await uow.users.add(user)
        await uow.commit()
    return user


@pytest.fixture
async def lamp(create_item: CreateItem, ada: User) -> OwnedItem:
    return await create_item(by=ada.id, name="Lamp", description=None, price=Decimal("19.9"))


async def test_an_item_belongs_to_who_registers_it(lamp: OwnedItem, ada: User, store: Store) -> None:
    assert (lamp.item.owner_id, lamp.owner_username) == (ada.id, ada.username)
    assert (lamp.item.price, lamp.item.created_at, lamp.item.version) == (Decimal("19.90"), NOON, 1)
    assert await store.items.get(lamp.item.id) == lamp


async def test_only_an_active_user_registers_items(create_item: CreateItem, begin: Begin) -> None:
    inactive = await signed_up(begin, is_active=False)
    for user_id in (inactive.id, UserId(new_id())):
        with pytest.raises(Unauthenticated):
            await create_item(by=user_id, name="Lamp", description=None, price=Decimal(1))


async def test_a_faulty_item_is_not_registered(create_item: CreateItem, ada: User) -> None:
    with pytest.raises(Invalid):
        await create_item(by=ada.id, name=" ", description=None, price=Decimal(1))


async def test_a_transfer_is_in_the_history(
    transfer_item: TransferItem, lamp: OwnedItem, ada: User, grace: User, store: Store, clock: SetClock
) -> None:
    clock.move(hours=1)
    given = await transfer_item(lamp.item.id, by=ada.id, to=grace.id, expected={1})
    assert (given.item.owner_id, given.owner_username, given.item.version) == (grace.id, grace.username, 2)
    assert await store.items.get(lamp.item.id) == given

    back = await transfer_item(lamp.item.id, by=grace.id, to=ada.id)
    history = await store.transfers.page(lamp.item.id, Window())
    assert [(t.number, t.version, t.from_user_id, t.to_user_id, t.transferred_at) for t in history.items] == [
        (1, 2, ada.id, grace.id, clock()),
        (2, 3, grace.id, ada.id, clock()),
    ]
    assert back.item.transfers == 2


async def test_whoever_gave_an_item_away_cannot_give_it_again(
    transfer_item: TransferItem, lamp: OwnedItem, ada: User, grace: User, begin: Begin
) -> None:
    third = await signed_up(begin)
    await transfer_item(lamp.item.id, by=ada.id, to=grace.id)
    with pytest.raises(Forbidden):
        await transfer_item(lamp.item.id, by=ada.id, to=third.id)


NOBODY = UserId(new_id())


@pytest.mark.parametrize(
    ("by", "item", "to", "expected", "kind", "code"),
    [
        ("nobody", "missing", "nobody", {9}, Unauthenticated, "account-inactive"),
        ("inactive", "missing", "nobody", {9}, Unauthenticated, "account-inactive"),
        ("inactive-owner", "theirs", "grace", None, Unauthenticated, "account-inactive"),
        ("ada", "missing", "nobody", {9}, NotFound, "item-not-found"),
        ("grace", "lamp", "nobody", {9}, Forbidden, "item-not-owned"),
        ("ada", "lamp", "nobody", {9}, Stale, "version-mismatch"),
        ("ada", "lamp", "nobody", None, Invalid, "recipient-not-found"),
        ("ada", "lamp", "ada", {1}, Invalid, "recipient-is-owner"),
        ("ada", "lamp", "inactive", {1}, Conflict, "recipient-inactive"),
    ],
)
async def test_refusals_come_in_the_order_of_the_contract_and_change_nothing(
    by: str,
    item: str,
    to: str,
    expected: ExpectedVersions,
    kind: type[DomainError],
    code: str,
    transfer_item: TransferItem,
    lamp: OwnedItem,
    ada: User,
    grace: User,
    begin: Begin,
    store: Store,
) -> None:
    inactive, inactive_owner = await signed_up(begin, is_active=False), await signed_up(begin, is_active=False)
    theirs = an_item(inactive_owner)
    async with begin() as uow:
        await uow.items.add(theirs)
        await uow.commit()
    people = {"ada": ada.id, "grace": grace.id, "inactive": inactive.id, "inactive-owner": inactive_owner.id}
    things = {"lamp": lamp.item.id, "theirs": theirs.id, "missing": ItemId(new_id())}

    with pytest.raises(kind) as refusal:
        await transfer_item(things[item], by=people.get(by, NOBODY), to=people.get(to, NOBODY), expected=expected)

    assert refusal.value.code == code
    assert await store.items.get(lamp.item.id) == lamp
    assert (await store.transfers.page(lamp.item.id, Window())).items == []


async def test_an_inactive_caller_is_told_so_before_anything_about_items(transact: Transact, begin: Begin) -> None:
    inactive = await signed_up(begin, is_active=False)
    with pytest.raises(Unauthenticated):
        await ChangeItem(transact)(ItemId(new_id()), {"name": "Lamp"}, by=inactive.id)
    with pytest.raises(Unauthenticated):
        await DeleteItem(transact)(ItemId(new_id()), by=inactive.id)
