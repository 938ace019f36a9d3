"""Users, items and transfers for tests, every field set; what a test is about, it says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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

_numbers: Iterator[int] = count(1)


def new_id() -> UUID:
    """Of version 7, each greater than the one before."""
    return UUID(int=next(_numbers) << 80 | 7 << 76 | 2 << 62)


@dataclass
class SetClock:
    """A clock that stands still until it is moved."""

    time: datetime = NOON

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


def a_user(**fields: Any) -> User:
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
    """The item's next one."""
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
    key = KeyId(caller=UserId(new_id()), operation="POST /items/{id}/transfer", key="a key of 1 to 255 characters")
    return replace(key, **fields)
