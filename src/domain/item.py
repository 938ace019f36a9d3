"""Items, and the transfers that make up their history."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NewType, Self, TypedDict
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid
from domain.text import checked_description, checked_name
from domain.user import User, UserId
from domain.version import ExpectedVersions, check_version

ItemId = NewType("ItemId", UUID)
TransferId = NewType("TransferId", UUID)

MAX_NAME_LENGTH = 200
MAX_PRICE = Decimal("9999999999.99")
CENT = Decimal("0.01")


class ItemChanges(TypedDict, total=False):
    """New values of an item's fields. Fields that are absent stay as they are; None removes the description."""

    name: str
    description: str | None
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One transfer of an item to a new owner.

    It refers to users and items by their ids only, because it is kept after they are deleted. `number` counts the
    item's transfers from 1; `version` is the item's version after this transfer.
    """

    id: TransferId
    item_id: ItemId
    number: int
    from_user_id: UserId
    to_user_id: UserId
    version: int
    transferred_at: datetime


@dataclass(slots=True, kw_only=True)
class Item:
    """A thing with exactly one owner.

    `version` grows by one with every change. `transfers` is the number of transfers so far.
    """

    id: ItemId
    name: str
    description: str | None
    price: Decimal
    owner_id: UserId
    created_at: datetime
    version: int = 1
    transfers: int = 0

    @classmethod
    def register(
        cls, *, id: ItemId, name: str, description: str | None, price: Decimal, owner: User, at: datetime
    ) -> Self:
        """Create an item that belongs to `owner`; raise Invalid if a field is not valid."""
        return cls(
            id=id,
            name=checked_name("name", name, max_length=MAX_NAME_LENGTH),
            description=checked_description(description),
            price=checked_price(price),
            owner_id=owner.id,
            created_at=at,
        )

    def check_owner_and_version(self, by: UserId, expected: ExpectedVersions) -> None:
        """Raise Forbidden if `by` is not the owner, then Stale if `expected` excludes the current version.

        The API promises this order.
        """
        if by != self.owner_id:
            raise Forbidden("item-not-owned", "only the item's owner can do this")
        check_version(self.version, expected)

    def change(self, changes: ItemChanges, *, by: UserId, expected: ExpectedVersions = None) -> bool:
        """Apply the changes and return whether any field now has another value; only then is there a new version.

        Raise, in this order: Forbidden if `by` is not the owner; Stale if `expected` excludes the current version;
        Invalid if a new value is not valid. After Invalid, some changes may have been applied, so the item must not be
        saved.
        """
        self.check_owner_and_version(by, expected)
        before = (self.name, self.description, self.price)
        if "name" in changes:
            self.name = checked_name("name", changes["name"], max_length=MAX_NAME_LENGTH)
        if "description" in changes:
            self.description = checked_description(changes["description"])
        if "price" in changes:
            self.price = checked_price(changes["price"])
        changed = before != (self.name, self.description, self.price)
        self.version += changed
        return changed

    def transfer(
        self, *, id: TransferId, by: UserId, to: User | None, expected: ExpectedVersions = None, at: datetime
    ) -> Transfer:
        """Make `to` the owner and return the record of this transfer.

        The version and the number of transfers grow by one. Raise, in this order: as check_owner_and_version() does;
        Invalid `recipient-not-found` if `to` is None; Invalid `recipient-is-owner`; Conflict `recipient-inactive`.
        """
        self.check_owner_and_version(by, expected)
        if to is None:
            raise Invalid("recipient-not-found", "the recipient does not exist", "to_user_id")
        if to.id == self.owner_id:
            raise Invalid("recipient-is-owner", "the recipient owns the item already", "to_user_id")
        if not to.is_active:
            raise Conflict("recipient-inactive", "the recipient's account is not active")
        self.owner_id = to.id
        self.version += 1
        self.transfers += 1
        return Transfer(
            id=id,
            item_id=self.id,
            number=self.transfers,
            from_user_id=by,
            to_user_id=to.id,
            version=self.version,
            transferred_at=at,
        )


def checked_price(price: Decimal) -> Decimal:
    """Return the price with exactly two decimals, so that equal prices are always written alike.

    Raise Invalid `invalid-price` if it is not between 0 and MAX_PRICE or has more than two decimals.
    """
    if not (price.is_finite() and 0 <= price <= MAX_PRICE):
        raise Invalid("invalid-price", f"between 0 and {MAX_PRICE}", "price")
    exact = price.quantize(CENT)
    if exact != price:
        raise Invalid("invalid-price", "at most two decimals", "price")
    return abs(exact)  # there is a minus zero
