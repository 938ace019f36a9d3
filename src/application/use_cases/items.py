"""Items: registering, changing, removing and transferring them."""

from dataclasses import dataclass
from decimal import Decimal

from application.ports import Clock, Ids, UnitOfWork
from application.readers import OwnedItem
from application.transact import Transact
from application.use_cases.callers import hold_active_user, lock_item_of_active_user
from domain.errors import require
from domain.item import Item, ItemChanges, ItemId, TransferId
from domain.user import UserId, require_active
from domain.version import ExpectedVersions


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Register an item and return it with its owner's username.

    - It belongs to the user who registers it. Unauthenticated if that account is not active or was deleted.
    - Invalid if the name, description or price is not valid.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, *, by: UserId, name: str, description: str | None, price: Decimal) -> OwnedItem:
        """Store a new item of the user `by` and return it."""
        id = ItemId(self.ids())

        async def register(uow: UnitOfWork) -> OwnedItem:
            """Add the item and return it with its owner's username.

            Hold the owner first; raise Unauthenticated if that account is not active or was deleted.
            """
            owner = await hold_active_user(uow, by)
            item = Item.register(id=id, name=name, description=description, price=price, owner=owner, at=self.now())
            await uow.items.add(item)
            return OwnedItem(item, owner.username)

        return await self.transact(register)


@dataclass(frozen=True, slots=True)
class ChangeItem:
    """Change an item's name, description or price.

    - Only the owner can change it (else Forbidden), and only while their account is active (else Unauthenticated). The
      caller may say which versions the change is meant for (Stale if the item has another one).
    - If no field gets another value, nothing is stored and the version stays the same.
    - NotFound if there is no such item, Invalid if a new value is not valid.
    """

    transact: Transact

    async def __call__(
        self, item_id: ItemId, changes: ItemChanges, *, by: UserId, expected: ExpectedVersions = None
    ) -> OwnedItem:
        """Return the item as it is after the change."""

        async def change(uow: UnitOfWork) -> OwnedItem:
            """Check the caller's account, the owner and the version; store the item if a field got another value."""
            item, owner = await lock_item_of_active_user(uow, item_id, by)
            if item.change(changes, by=by, expected=expected):
                await uow.items.save(item)
            return OwnedItem(item, owner.username)

        return await self.transact(change)


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item.

    - Only the owner can remove it (else Forbidden), and only while their account is active (else Unauthenticated). The
      caller may say which versions they mean (Stale if the item has another one). NotFound if there is no such item.
    - Its transfer history stays in the store, but can no longer be queried.
    """

    transact: Transact

    async def __call__(self, item_id: ItemId, *, by: UserId, expected: ExpectedVersions = None) -> None:
        async def remove(uow: UnitOfWork) -> None:
            """Check the caller's account, the owner and the version, then remove the item."""
            item, _ = await lock_item_of_active_user(uow, item_id, by)
            item.check_owner_and_version(by, expected)
            await uow.items.remove(item)

        await self.transact(remove)


@dataclass(frozen=True, slots=True)
class TransferItem:
    """Transfer an item to another user.

    - Only the owner can transfer it (else Forbidden), and only while their account is active (else Unauthenticated).
      The caller may say which versions they mean (Stale if the item has another one). NotFound if there is no such
      item.
    - The recipient exists and is not the owner (else Invalid), and is active (else Conflict).
    - Every transfer is added to the item's history. Transfers are numbered without gaps.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(
        self, item_id: ItemId, *, by: UserId, to: UserId, expected: ExpectedVersions = None
    ) -> OwnedItem:
        """Return the item with the username of its new owner `to`."""
        id = TransferId(self.ids())

        async def hand_over(uow: UnitOfWork) -> OwnedItem:
            """Check everything, store the item with its new owner, and add the transfer to its history."""
            found, users = await uow.lock_item(item_id, by, to)
            require_active(users.get(by))
            item = require(found, "item")
            transfer = item.transfer(id=id, by=by, to=users.get(to), expected=expected, at=self.now())
            await uow.items.save(item)
            await uow.transfers.add(transfer)
            return OwnedItem(item, users[to].username)

        return await self.transact(hand_over)
