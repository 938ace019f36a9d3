"""Conversions between stored documents and entities of the domain."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from application.ports import KeyId
from application.readers import OwnedItem
from application.streaming import SessionToken, StoredKey
from domain.item import Item, ItemId, Transfer, TransferId
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, UserId
from infrastructure.persistence.beanie.documents import (
    AttemptsDocument,
    ItemDocument,
    KeyDocument,
    SessionDocument,
    TaskDocument,
    TokenDocument,
    TransferDocument,
    UserDocument,
)

Row = Mapping[str, Any]


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


def to_cents(price: Decimal) -> int:
    """Return a price in cents, as it is stored."""
    return int(price.scaleb(2))


def owned_item_from(row: Row) -> OwnedItem:
    return OwnedItem(item_from(row), row["owner_username"])


def document_of_item(item: Item, owner_username: str) -> ItemDocument:
    return ItemDocument(
        id=item.id,
        name=item.name,
        description=item.description,
        cents=to_cents(item.price),
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


def task_from(row: Row) -> Task:
    return Task(
        id=TaskId(row["_id"]),
        owner_id=UserId(row["owner_id"]),
        title=row["title"],
        description=row["description"],
        status=TaskStatus(row["status"]),
        created_at=row["created_at"],
        version=row["version"],
    )


def document_of_task(task: Task) -> TaskDocument:
    return TaskDocument(
        id=task.id,
        owner_id=task.owner_id,
        title=task.title,
        description=task.description,
        status=task.status.value,
        created_at=task.created_at,
        version=task.version,
    )


def session_from(row: Row) -> Session:
    return Session(
        id=SessionId(row["_id"]),
        user_id=UserId(row["user_id"]),
        token_hash=row["token_hash"],
        expires_at=row["expires_at"],
        revoked=row["revoked"],
        version=row["version"],
    )


def document_of_session(session: Session) -> SessionDocument:
    return SessionDocument(
        id=session.id,
        user_id=session.user_id,
        token_hash=session.token_hash,
        expires_at=session.expires_at,
        revoked=session.revoked,
        version=session.version,
    )


def attempts_from(row: Row) -> LoginAttempts:
    return LoginAttempts(
        subject=row["_id"], failed=tuple(row["failed"]), pending=tuple(row["pending"]), version=row["version"]
    )


def document_of_attempts(attempts: LoginAttempts) -> AttemptsDocument:
    return AttemptsDocument(
        id=attempts.subject,
        failed=[*attempts.failed],
        pending=[*attempts.pending],
        version=attempts.version,
        expires_at=attempts.expires_at,
    )


def key_id(key: KeyId) -> dict[str, UUID | str]:
    """Return a key's identity as the id of its document.

    Always in this order, because MongoDB compares embedded documents including the order of their fields.
    """
    return {"caller": key.caller, "operation": key.operation, "key": key.key}


def token_from(row: Row) -> SessionToken:
    return SessionToken(
        token_hash=row["_id"],
        session_id=SessionId(row["session_id"]),
        user_id=UserId(row["user_id"]),
        expires_at=row["expires_at"],
    )


def document_of_token(token: SessionToken) -> TokenDocument:
    return TokenDocument(
        id=token.token_hash, session_id=token.session_id, user_id=token.user_id, expires_at=token.expires_at
    )


def stored_key_from(row: Row) -> StoredKey:
    return StoredKey(
        id=KeyId(UserId(row["_id"]["caller"]), row["_id"]["operation"], row["_id"]["key"]),
        fingerprint=row["fingerprint"],
        expires_at=row["expires_at"],
        answer=row["answer"],
    )


def document_of_stored_key(key: StoredKey) -> KeyDocument:
    return KeyDocument(id=key_id(key.id), fingerprint=key.fingerprint, expires_at=key.expires_at, answer=key.answer)
