"""Conversions between rows of the tables and entities of the domain."""

from decimal import Decimal
from typing import Any, Protocol

from application.ports import KeyId
from application.readers import OwnedItem
from application.streaming import NEVER, NOBODY, SessionToken, StoredKey
from domain.item import Item, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task, TaskStatus
from domain.user import User


class Row(Protocol):
    """A row of a result: `row["name"]` is the value of that column. Records of asyncpg and dicts both fit."""

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


def cents(price: Decimal) -> int:
    """Return a price in cents, as it is stored."""
    return int(price.scaleb(2))


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


def owned_item_from(row: Row) -> OwnedItem:
    return OwnedItem(item_from(row), row["owner_username"])


def row_from_item(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "description": item.description,
        "price": cents(item.price),
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


def task_from(row: Row) -> Task:
    return Task(
        id=row["id"],
        owner_id=row["owner_id"],
        title=row["title"],
        description=row["description"],
        status=TaskStatus(row["status"]),
        created_at=row["created_at"],
        version=row["version"],
    )


def row_from_task(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "owner_id": task.owner_id,
        "title": task.title,
        "description": task.description,
        "status": task.status.value,
        "created_at": task.created_at,
        "version": task.version,
    }


def session_from(row: Row) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        token_hash=row["token_hash"],
        expires_at=row["expires_at"],
        revoked=row["revoked"],
        version=row["version"],
    )


def row_from_session(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "user_id": session.user_id,
        "token_hash": session.token_hash,
        "expires_at": session.expires_at,
        "revoked": session.revoked,
        "version": session.version,
    }


def attempts_from(row: Row) -> LoginAttempts:
    return LoginAttempts(
        subject=row["subject"],
        failed=row["failed"],
        pending=row["pending"],
        version=row["version"],
    )


def row_from_attempts(attempts: LoginAttempts) -> dict[str, Any]:
    return {
        "subject": attempts.subject,
        "failed": attempts.failed,
        "pending": attempts.pending,
        "version": attempts.version,
        "expires_at": attempts.expires_at,
    }


def token_from(row: Row) -> SessionToken:
    """Return the token of a row that also has its session's user and expiry; NOBODY and NEVER if these are NULL."""
    return SessionToken(
        token_hash=row["token_hash"],
        session_id=row["session_id"],
        user_id=row["user_id"] or NOBODY,
        expires_at=row["expires_at"] or NEVER,
    )


def row_from_token(token: SessionToken) -> dict[str, Any]:
    return {"token_hash": token.token_hash, "session_id": token.session_id}


def key_from(row: Row) -> StoredKey:
    return StoredKey(
        id=KeyId(row["caller"], row["operation"], row["key"]),
        fingerprint=row["fingerprint"],
        expires_at=row["expires_at"],
        answer=row["answer"],
    )


def row_from_key(key: StoredKey) -> dict[str, Any]:
    return {
        "caller": key.id.caller,
        "operation": key.id.operation,
        "key": key.id.key,
        "fingerprint": key.fingerprint,
        "expires_at": key.expires_at,
        "answer": key.answer,
    }
