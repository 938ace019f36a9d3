"""What lies in MongoDB, and how it becomes entities and back.

Rows are read as they are and written through Beanie's documents, which refuse what would come back different, such as a
time without a zone. Ids are binary UUIDs, which sort by their bytes as strings do, and prices are cents.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from beanie import Document
from pydantic import AwareDatetime
from pymongo import IndexModel

from application.ports import KeyId
from application.readers import OwnedItem
from domain.item import Item, ItemId, Transfer, TransferId
from domain.user import User, UserId

Row = Mapping[str, Any]


class UserDocument(Document):
    id: UUID  # type: ignore[assignment]
    email: str
    username: str
    password_hash: str
    is_active: bool
    created_at: AwareDatetime
    version: int

    class Settings:
        name = "users"
        indexes = (
            IndexModel("email", name="users_email", unique=True),
            IndexModel("username", name="users_username", unique=True),
        )


class ItemDocument(Document):
    id: UUID  # type: ignore[assignment]
    name: str
    description: str | None
    cents: int
    owner_id: UUID
    owner_username: str
    """Usernames never change, so this copy cannot go stale, and no answer costs a look-up of the owner."""
    created_at: AwareDatetime
    version: int
    transfers: int

    class Settings:
        name = "items"
        indexes = (IndexModel("owner_id", name="items_owner_id"),)


class TransferDocument(Document):
    id: UUID  # type: ignore[assignment]
    item_id: UUID
    number: int
    from_user_id: UUID
    to_user_id: UUID
    version: int
    transferred_at: AwareDatetime

    class Settings:
        name = "transfers"
        indexes = (IndexModel(["item_id", "number"], name="transfers_item_id_number", unique=True),)


class KeyDocument(Document):
    id: dict[str, UUID | str]  # type: ignore[assignment]
    fingerprint: bytes
    expires_at: AwareDatetime
    answer: bytes | None = None

    class Settings:
        name = "keys"


DOCUMENTS: tuple[type[Document], ...] = UserDocument, ItemDocument, TransferDocument, KeyDocument


def user_from(row: Row) -> User:
    return User(
        id=UserId(row["_id"]),
        email=row["email"],
        username=row["username"],
        password_hash=row["password_hash"],
        is_active=row["is_active"],
        created_at=row["created_at"],
        version=row["version"],
    )


def document_of_user(user: User) -> UserDocument:
    return UserDocument(
        id=user.id,
        email=user.email,
        username=user.username,
        password_hash=user.password_hash,
        is_active=user.is_active,
        created_at=user.created_at,
        version=user.version,
    )


def item_from(row: Row) -> Item:
    return Item(
        id=ItemId(row["_id"]),
        name=row["name"],
        description=row["description"],
        price=Decimal(row["cents"]).scaleb(-2),
        owner_id=UserId(row["owner_id"]),
        created_at=row["created_at"],
        version=row["version"],
        transfers=row["transfers"],
    )


def owned_item_from(row: Row) -> OwnedItem:
    return OwnedItem(item_from(row), row["owner_username"])


def document_of_item(item: Item, owner_username: str) -> ItemDocument:
    return ItemDocument(
        id=item.id,
        name=item.name,
        description=item.description,
        cents=int(item.price.scaleb(2)),
        owner_id=item.owner_id,
        owner_username=owner_username,
        created_at=item.created_at,
        version=item.version,
        transfers=item.transfers,
    )


def transfer_from(row: Row) -> Transfer:
    return Transfer(
        id=TransferId(row["_id"]),
        item_id=ItemId(row["item_id"]),
        number=row["number"],
        from_user_id=UserId(row["from_user_id"]),
        to_user_id=UserId(row["to_user_id"]),
        version=row["version"],
        transferred_at=row["transferred_at"],
    )


def document_of_transfer(transfer: Transfer) -> TransferDocument:
    return TransferDocument(
        id=transfer.id,
        item_id=transfer.item_id,
        number=transfer.number,
        from_user_id=transfer.from_user_id,
        to_user_id=transfer.to_user_id,
        version=transfer.version,
        transferred_at=transfer.transferred_at,
    )


def key_id(key: KeyId) -> dict[str, UUID | str]:
    """In this order always: documents are equal only if their fields are in the same order."""
    return {"caller": key.caller, "operation": key.operation, "key": key.key}
