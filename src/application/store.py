"""The port that an adapter provides: a store with everything that the application does with it.

lock_one_by_one() is for adapters whose engine cannot lock several records in one round trip.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from application.ports import Begin, PoolUsage, UnitOfWork
from application.readers import ItemReader, TaskReader, TransferReader, UserReader
from application.streaming import StoreStream
from domain.errors import NotFound
from domain.item import Item, ItemId
from domain.user import User, UserId


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of the store's schema, and the one that this version of the adapter needs.

    A schema is what Store.upgrade() has to make before the store can hold records: tables and indexes, or nothing but a
    record of the revision. A revision is a text that the adapter chooses for each of its migrations, best a number that
    grows, such as `0002`.
    """

    found: str | None
    """What the store says: the revision that upgrade() has recorded in it, or None if it has no schema yet or no more.

    Always None, as `needed` is, for an engine that needs no schema, such as that in memory.
    """
    needed: str | None
    """A constant of the adapter: the revision to which upgrade() migrates."""

    @property
    def is_current(self) -> bool:
        """Whether the store has the needed revision."""
        return self.found == self.needed

    @property
    def is_newer(self) -> bool:
        """Whether the store has a later revision than the needed one. Only revisions that are numbers are compared.

        If so, a newer version of Handover has migrated the store. A server that runs can go on, because a migration
        only adds what older servers do not use, until the release after it.
        """
        found, needed = self.found or "", self.needed or ""
        return found.isdecimal() and needed.isdecimal() and int(found) > int(needed)

    @property
    def remedy(self) -> str:
        """The advice for a schema that is not current, such as "run `handover migrate up`", for an error message."""
        return "use the version of Handover that has migrated it" if self.is_newer else "run `handover migrate up`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do, as far as engines differ. `handover certify` checks each value as far as one
    machine can show it."""

    durable: bool
    """Whether committed data outlive the process."""
    processes: Literal["one", "one-machine", "any"]
    """Which processes may share the data.

    With "one", a store that is not durable is another one in each process, and open() of a durable one raises
    Unavailable while another process has it open.
    """
    writers: Literal["one", "many"]
    """Whether units of work that change different aggregates run at the same time."""
    conflicts: Literal["wait", "fail"]
    """What happens to a unit of work that is about to change what an open one has changed.

    "wait": it waits until the other one ends. "fail": neither waits, and one of the two raises TryAgain, at commit() at
    the latest.
    """
    seconds_to_release_locks: float | None
    """How long after the death of a process its locks are released, at most.

    None exactly if `processes` is "one": the locks are in the memory of that process, and end with it.
    """


class Store(Protocol):
    """A storage engine and its adapter, as chosen by the settings.

    begin() starts changes, the readers run queries, and the stream reads and writes everything as it is.
    """

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def begin(self) -> Begin: ...
    @property
    def users(self) -> UserReader: ...
    @property
    def items(self) -> ItemReader: ...
    @property
    def transfers(self) -> TransferReader: ...
    @property
    def tasks(self) -> TaskReader: ...
    @property
    def stream(self) -> StoreStream: ...

    def pools(self) -> Mapping[str, PoolUsage]:
        """Return how busy the connection pools are, by a short name for each; empty if the store has none.

        Operators see the names and numbers in `/metrics`. The call must be cheap, and asks the store nothing.
        """
        ...

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        """Remove records that have expired (`expires_at <= at`), up to `limit` of each kind.

        Return how many of each kind were removed; a kind of which none was removed may be left out. A total of 0 means
        that none is left but those that a unit of work has locked. The kinds are `keys` (idempotency keys), `sessions`,
        `tokens` (of sessions) and `attempts` (to log in). A session is removed only when none of its tokens is left,
        perhaps by a later call. Each call is short, so that no unit of work waits for long.
        """
        ...

    async def unsafe_settings(self) -> dict[str, str]:
        """Return those settings of the engine with which our promises do not hold, each with what is wrong with it.

        For example `{"fsync": "is off: a crash of the machine may lose confirmed changes"}`. A setting that the store's
        user may not read is left out.
        """
        ...

    async def open(self) -> None:
        """Connect. Raise Unavailable, with a one-line message that says what to do, if the engine cannot be used.

        This may create an empty store, but makes no schema: upgrade() does.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def schema(self) -> Schema:
        """Ask the store for its schema's revision, and return it with the needed one; they may differ.

        In a new store `found` is None until upgrade() has been called.

        Raise Unavailable if the store does not answer, so this also serves as a check of the connection.
        """
        ...

    async def upgrade(self) -> None:
        """Migrate the schema to the needed revision; do nothing if it is there. Several processes may do so at once.

        Raise Unavailable if the store has a revision that this version of Handover does not know, and Busy if the
        schema is locked for too long.
        """
        ...

    async def downgrade(self) -> None:
        """Undo the newest migration, with the data that only its schema can hold; do nothing if there is no schema.

        Undoing the first migration removes all data. A durable store without a schema removes them, too, because
        `handover certify` empties a store so. Raise Unavailable or Busy as upgrade() does.
        """
        ...


async def lock_one_by_one(
    uow: UnitOfWork, item_id: ItemId, user_ids: Collection[UserId]
) -> tuple[Item | None, dict[UserId, User]]:
    """Hold the users, then lock the item, as UnitOfWork.lock_item() has to do.

    Return the item, None if there is none, and those of the users that exist.
    """
    users = await uow.users.hold(*user_ids)
    try:
        return await uow.items.get_for_update(item_id), users
    except NotFound:
        return None, users
