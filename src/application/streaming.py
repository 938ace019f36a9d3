"""The port to read and write a whole store, record by record, for copying a store and checking it.

Unlike the repositories, it has no business rules: versions, used tokens, stored answers and the history of deleted
items are read and written as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from application.ports import KeyId
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task
from domain.user import User, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionToken:
    """The hash of a refresh token that a session has or had. It expires with its session."""

    token_hash: bytes
    session_id: SessionId
    user_id: UserId
    expires_at: datetime

    @classmethod
    def of(cls, session: Session) -> "SessionToken":
        """Return the record of the session's current token."""
        return cls(
            token_hash=session.token_hash,
            session_id=session.id,
            user_id=session.user_id,
            expires_at=session.expires_at,
        )


NOBODY = UserId(UUID(int=0))
NEVER = datetime.max.replace(tzinfo=UTC)
"""The user and the expiry of a token whose session is missing, where a store has them from the session alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """An idempotency key with the answer of its request."""

    id: KeyId
    fingerprint: bytes
    expires_at: datetime
    answer: bytes


Record = User | Item | Transfer | Task | Session | SessionToken | LoginAttempts | StoredKey
R = TypeVar("R", bound=Record)

KINDS: tuple[type[Record], ...] = (User, Item, Transfer, Task, Session, SessionToken, LoginAttempts, StoredKey)
"""All kinds of records, in an order in which they can be written: a record refers to earlier kinds only."""


Identity = UUID | bytes | tuple[UUID, str, str]
"""What no two records of a kind have in common."""


def identity(record: Record) -> Identity:
    """Return what identifies a record among those of its kind, by which read() sorts.

    This is the token hash, the subject, or the three parts of an idempotency key; for all other kinds it is `id`.
    """
    match record:
        case SessionToken():
            return record.token_hash
        case LoginAttempts():
            return record.subject
        case StoredKey():
            return record.id.caller, record.id.operation, record.id.key
        case _:
            return record.id


MARKER = KeyId(NOBODY, "handover copy", "")
"""A store has this key as long as it is the target of a copy that is not complete."""

Report = Callable[[str, type[Record], int, int], None]
"""Called with what is being done, the kind of the records, how many of them are done, and of how many."""


def label(kind: type[Record]) -> str:
    """Return the plural name of a kind of records, for messages, such as `users` or `log-in attempts`."""
    return {"LoginAttempts": "log-in attempts", "SessionToken": "session tokens", "StoredKey": "idempotency keys"}.get(
        kind.__name__, f"{kind.__name__.lower()}s"
    )


class StoreStream(Protocol):
    """Reads and writes all records of a store. Readers and units of work may run meanwhile."""

    async def count(self, kind: type[Record]) -> int:
        """Return the number of committed records of this kind, expired ones included."""
        ...

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        """Return up to `limit` committed records of this kind, sorted by their identity.

        They begin behind the identity `after`, or at the first record if it is None. UUIDs and bytes are sorted by
        their bytes; the order of texts depends on the engine, but is always the same.
        """
        ...

    async def history(self, after: tuple[ItemId, int] | None, limit: int) -> list[Transfer]:
        """Return up to `limit` committed transfers, sorted by the bytes of their item's id, then by number.

        The first is the one that follows `after`, an item id and a number, or the first of all if it is None. Transfers
        of deleted items are included.
        """
        ...

    async def write(self, records: Sequence[Record]) -> None:
        """Store the records as they are, all of them or none; one with the same identity is replaced.

        They are of one kind. What they refer to has been written before. Raise TryAgain if a lock or a concurrent
        change is in the way; the caller may then repeat the call.
        """
        ...
