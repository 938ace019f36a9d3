"""The StoreStream of the in-memory tables."""

from collections.abc import Sequence
from copy import copy
from typing import Any

from application.streaming import NEVER, Identity, R, Record, SessionToken, StoredKey, identity
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User
from infrastructure.persistence.memory.tables import StoredAnswer, Tables


class MemoryStream:
    """Counts, reads and writes all records of the store as they are (port StoreStream)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def count(self, kind: type[Record]) -> int:
        """Return the number of records of this kind."""
        return len(self._all(kind))

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        """Return copies of up to `limit` records of this kind, sorted by their identity.

        The first is the one that follows the identity `after`, or the first of all if it is None.
        """
        records = sorted(self._all(kind), key=identity)
        return [copy(record) for record in records if after is None or identity(record) > after][:limit]  # type: ignore[operator]

    async def history(self, after: tuple[ItemId, int] | None, limit: int) -> list[Transfer]:
        """Return up to `limit` transfers, sorted by item id and number.

        The first is the one that follows `after`, an item id and a number, or the first of all if it is None.
        """
        transfers = self.tables.transfers
        return [transfers[position] for position in sorted(transfers) if after is None or position > after][:limit]

    def _all(self, kind: type[Any]) -> list[Any]:
        """Return all records of this kind, in any order, not copied.

        A token expires with its session, or at NEVER if the session is missing.
        """
        tables = self.tables
        if kind is SessionToken:
            return [
                SessionToken(
                    token_hash=token_hash,
                    session_id=session_id,
                    user_id=user_id,
                    expires_at=tables.sessions[session_id].expires_at if session_id in tables.sessions else NEVER,
                )
                for token_hash, (session_id, user_id) in tables.tokens.items()
            ]
        if kind is StoredKey:
            return [
                StoredKey(id=id, fingerprint=key.fingerprint, expires_at=key.expires_at, answer=key.answer or b"")
                for id, key in tables.keys.items()
            ]
        by_kind: dict[type[Any], dict[Any, Any]] = {
            User: tables.users,
            Item: tables.items,
            Transfer: tables.transfers,
            Task: tables.tasks,
            Session: tables.sessions,
            LoginAttempts: tables.attempts,
        }
        return [*by_kind[kind].values()]

    async def write(self, records: Sequence[Record]) -> None:
        """Store copies of the records as they are, at once; one with the same identity is replaced.

        The expiry of a token is not stored, since it is that of its session.
        """
        for record in map(copy, records):
            match record:
                case User():
                    self.tables.users[record.id] = record
                    self.tables.emails[record.email] = record.id
                    self.tables.usernames[record.username] = record.id
                case Item():
                    self.tables.items[record.id] = record
                case Transfer():
                    self.tables.transfers[record.item_id, record.number] = record
                case Task():
                    self.tables.tasks[record.id] = record
                case Session():
                    self.tables.sessions[record.id] = record
                case SessionToken():
                    self.tables.tokens[record.token_hash] = (record.session_id, record.user_id)
                case LoginAttempts():
                    self.tables.attempts[record.subject] = record
                case StoredKey():
                    stored = StoredAnswer(record.fingerprint, record.expires_at, record.answer)
                    self.tables.keys[record.id] = stored
