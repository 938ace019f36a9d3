"""Builders of entities for tests, with every field set; a test names the fields that matter to it.

Each builder takes the entity's fields as keyword arguments. Ids, e-mail addresses and usernames are different in every
entity of a test run.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

from application.ports import KeyId
from domain.item import Item, ItemId, Transfer, TransferId
from domain.session import Session, SessionId
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, UserId

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
"""The time of everything that the builders make, and the first time of SetClock."""

_numbers: Iterator[int] = count(1)


def uuid7(milliseconds: int) -> UUID:
    """Return the UUIDv7 of this Unix time, with zeros where others have random bits."""
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62)


def new_id() -> UUID:
    """Return a UUIDv7 that is greater than all that this function has returned before."""
    return uuid7(next(_numbers))


def a_user(**fields: Any) -> User:
    """Return an active user."""
    number = next(_numbers)
    user = User(
        id=UserId(new_id()),
        email=f"user{number}@example.org",
        username=f"user{number}",
        password_hash=f"$argon2id$hash-of-{number}",
        is_active=True,
        created_at=NOON,
        version=1,
    )
    return replace(user, **fields)


def an_item(owner: User, **fields: Any) -> Item:
    """Return an item of this user."""
    item = Item(
        id=ItemId(new_id()),
        name="Lamp",
        description="Brass, with a green shade",
        price=Decimal("19.99"),
        owner_id=owner.id,
        created_at=NOON,
        version=1,
        transfers=0,
    )
    return replace(item, **fields)


def a_transfer(item: Item, to: User, **fields: Any) -> Transfer:
    """Return the next transfer of the item, from its owner to this user. The item itself is not changed."""
    transfer = Transfer(
        id=TransferId(new_id()),
        item_id=item.id,
        number=item.transfers + 1,
        from_user_id=item.owner_id,
        to_user_id=to.id,
        version=item.version + 1,
        transferred_at=NOON,
    )
    return replace(transfer, **fields)


def a_task(owner: User, **fields: Any) -> Task:
    """Return a task of this user, in progress."""
    task = Task(
        id=TaskId(new_id()),
        owner_id=owner.id,
        title="Dust the lamp",
        description="Not the shade",
        status=TaskStatus.IN_PROGRESS,
        created_at=NOON,
        version=1,
    )
    return replace(task, **fields)


def a_session(user: User, **fields: Any) -> Session:
    """Return a session of this user, which expires 30 days after NOON and is not revoked."""
    session = Session(
        id=SessionId(new_id()),
        user_id=user.id,
        token_hash=new_id().bytes * 2,
        expires_at=NOON + timedelta(days=30),
        revoked=False,
        version=1,
    )
    return replace(session, **fields)


def a_key(**fields: Any) -> KeyId:
    """Return an idempotency key. Each has another caller, but the same operation and the same text."""
    key = KeyId(caller=UserId(new_id()), operation="POST /items/{id}/transfer", key="a key of 1 to 255 characters")
    return replace(key, **fields)
