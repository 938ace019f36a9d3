"""Entities from rows, and rows from entities."""

from decimal import Decimal
from typing import Any, Protocol

from domain.item import Item, Transfer
from domain.user import User


class Row(Protocol):
    """By column name."""

    def __getitem__(self, column: str, /) -> Any: ...


def user_from(row: Row) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        username=row["username"],
        password_hash=row["password_hash"],
        is_active=row["is_active"],
        created_at=row["created_at"],
        version=row["version"],
    )


def row_from_user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "password_hash": user.password_hash,
        "is_active": user.is_active,
        "created_at": user.created_at,
        "version": user.version,
    }


def item_from(row: Row) -> Item:
    return Item(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        price=Decimal(row["price"]).scaleb(-2),
        owner_id=row["owner_id"],
        created_at=row["created_at"],
        version=row["version"],
        transfers=row["transfers"],
    )


def row_from_item(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "description": item.description,
        "price": int(item.price.scaleb(2)),
        "owner_id": item.owner_id,
        "created_at": item.created_at,
        "version": item.version,
        "transfers": item.transfers,
    }


def transfer_from(row: Row) -> Transfer:
    return Transfer(
        id=row["id"],
        item_id=row["item_id"],
        number=row["number"],
        from_user_id=row["from_user_id"],
        to_user_id=row["to_user_id"],
        version=row["version"],
        transferred_at=row["transferred_at"],
    )


def row_from_transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "item_id": transfer.item_id,
        "number": transfer.number,
        "from_user_id": transfer.from_user_id,
        "to_user_id": transfer.to_user_id,
        "version": transfer.version,
        "transferred_at": transfer.transferred_at,
    }
