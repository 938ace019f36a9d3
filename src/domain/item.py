"""Items, and the transfers that make up their history."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NewType, Self, TypedDict
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid
from domain.text import checked_description, checked_name
from domain.user import User, UserId
from domain.version import Expected, expect

ItemId = NewType("ItemId", UUID)
TransferId = NewType("TransferId", UUID)

NAME_LENGTH = 200
HIGHEST_PRICE = Decimal("9999999999.99")
CENT = Decimal("0.01")


class ItemChanges(TypedDict, total=False):
    name: str
    description: str | None
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One hand-over. It names users and items by value, because it outlives both."""

    id: TransferId
    item_id: ItemId
    number: int
    from_user_id: UserId
    to_user_id: UserId
    version: int
    transferred_at: datetime


@dataclass(slots=True, kw_only=True)
class Item:
    """A thing with exactly one owner. `version` grows with every change, `transfers` with every hand-over."""

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
        return cls(
            id=id,
            name=checked_name("name", name, at_most=NAME_LENGTH),
            description=checked_description(description),
            price=checked_price(price),
            owner_id=owner.id,
            created_at=at,
        )

    def permit(self, by: UserId, expected: Expected) -> None:
        """What goes before every change of an item, in the order that the contract promises."""
        if by != self.owner_id:
            raise Forbidden("item-not-owned", "only the item's owner can do this")
        expect(self.version, expected)

    def change(self, changes: ItemChanges, *, by: UserId, expected: Expected = None) -> bool:
        """Whether anything is now different; what is not different is not a new version."""
        self.permit(by, expected)
        before = (self.name, self.description, self.price)
        if "name" in changes:
            self.name = checked_name("name", changes["name"], at_most=NAME_LENGTH)
        if "description" in changes:
            self.description = checked_description(changes["description"])
        if "price" in changes:
            self.price = checked_price(changes["price"])
        changed = before != (self.name, self.description, self.price)
        self.version += changed
        return changed

    def transfer(
        self, *, id: TransferId, by: UserId, to: User | None, expected: Expected = None, at: datetime
    ) -> Transfer:
        self.permit(by, expected)
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
    """The price in its one form, two decimals, so that equal prices are equal in every answer."""
    if not (price.is_finite() and 0 <= price <= HIGHEST_PRICE):
        raise Invalid("invalid-price", f"between 0 and {HIGHEST_PRICE}", "price")
    exact = price.quantize(CENT)
    if exact != price:
        raise Invalid("invalid-price", "at most two decimals", "price")
    return abs(exact)  # there is a minus zero
