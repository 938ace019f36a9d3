"""Items: registering, changing and removing them, and handing them over."""

from dataclasses import dataclass
from decimal import Decimal

from application.callers import acting_user
from application.ports import Clock, Ids, UnitOfWork
from application.readers import OwnedItem
from application.transact import Transact
from domain.item import Item, ItemChanges, ItemId, TransferId
from domain.user import UserId, acting
from domain.version import Expected


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Register an item.

    - It belongs to the one who registers it, whose account is active.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, *, by: UserId, name: str, description: str | None, price: Decimal) -> OwnedItem:
        async def work(uow: UnitOfWork) -> OwnedItem:
            owner = await acting_user(uow, by)
            item = Item.register(
                id=ItemId(self.ids()), name=name, description=description, price=price, owner=owner, at=self.now()
            )
            await uow.items.add(item)
            return OwnedItem(item, owner.username)

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class ChangeItem:
    """Change an item's name, description or price.

    - Only its owner may; they may name the versions that they would have.
    - What changes nothing makes no new version.
    """

    transact: Transact

    async def __call__(
        self, item_id: ItemId, changes: ItemChanges, *, by: UserId, expected: Expected = None
    ) -> OwnedItem:
        async def work(uow: UnitOfWork) -> OwnedItem:
            owner = await acting_user(uow, by)
            item = await uow.items.get_for_update(item_id)
            if item.change(changes, by=by, expected=expected):
                await uow.items.save(item)
            return OwnedItem(item, owner.username)

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item.

    - Only its owner may; they may name the versions that they would have.
    - Its history stays in the store, though nobody can ask for it any more.
    """

    transact: Transact

    async def __call__(self, item_id: ItemId, *, by: UserId, expected: Expected = None) -> None:
        async def work(uow: UnitOfWork) -> None:
            await acting_user(uow, by)
            item = await uow.items.get_for_update(item_id)
            item.permit(by, expected)
            await uow.items.remove(item)

        await self.transact(work)


@dataclass(frozen=True, slots=True)
class TransferItem:
    """Hand an item to another user.

    - Only its owner may, and only while their account is active; they may name the versions that they would have.
    - The recipient exists, is active, and is somebody else.
    - Every transfer stays in the item's history, numbered without a gap.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, item_id: ItemId, *, by: UserId, to: UserId, expected: Expected = None) -> OwnedItem:
        async def work(uow: UnitOfWork) -> OwnedItem:
            users = await uow.users.hold(by, to)
            acting(users.get(by))
            item = await uow.items.get_for_update(item_id)
            transfer = item.transfer(
                id=TransferId(self.ids()), by=by, to=users.get(to), expected=expected, at=self.now()
            )
            await uow.items.save(item)
            await uow.transfers.add(transfer)
            return OwnedItem(item, users[to].username)

        return await self.transact(work)
