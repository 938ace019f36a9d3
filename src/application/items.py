"""Items: registering them, and handing them over."""

from dataclasses import dataclass
from decimal import Decimal

from application.ports import Clock, Ids, OwnedItem, UnitOfWork
from application.transact import Transact
from domain.item import Expected, Item, ItemId, TransferId
from domain.user import UserId, acting


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
            owner = acting((await uow.users.hold(by)).get(by))
            item = Item.register(
                id=ItemId(self.ids()), name=name, description=description, price=price, owner=owner, at=self.now()
            )
            await uow.items.add(item)
            return OwnedItem(item, owner.username)

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class TransferItem:
    """Hand an item to another user.

    - Only its owner may, and only while their account is active.
    - The caller may name the versions that it would have; the item has one of them.
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
            recipient = users.get(to)
            transfer = item.transfer(id=TransferId(self.ids()), by=by, to=recipient, expected=expected, at=self.now())
            await uow.items.save(item)
            await uow.transfers.add(transfer)
            return OwnedItem(item, users[to].username)

        return await self.transact(work)
