"""Checking that a store keeps the rules of the domain, while servers use it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from application.paging import Position, Sort, Window
from application.ports import Clock
from application.readers import ItemFilter
from application.record_rules import UNREADABLE, broken_end, broken_link, broken_rules
from application.store import Store
from application.streaming import KINDS, Identity, R, Record, Report, SessionToken, identity, label
from domain.errors import NotFound
from domain.item import Item, ItemId, Transfer
from domain.session import Session, SessionId
from domain.task import Task
from domain.text import normalize_identifier
from domain.user import User, UserId

T = TypeVar("T")
P = TypeVar("P")

PAGE = 1_000
"""Records that are read at once. A second look reads twice as many, in case some have been added in between."""
PAUSE = 0.5
"""Seconds before a second look."""
MAX_FINDINGS = 100
MAX_REMEMBERED = 100_000
"""Users and sessions that are remembered, so that they need not be looked up again."""
HIGHEST_NUMBER = 2**31 - 1
"""No transfer has a higher number."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the store that the rules do not allow. The texts contain no user's name and no secret."""

    kind: str
    """`setting`, or the kind of the record, in the singular."""
    id: str
    """The setting's name, or the record's identity as name() writes it."""
    problem: str

    def __str__(self) -> str:
        """Return the finding as one line: `task 0198…: its owner 0197… does not exist`."""
        return f"{self.kind} {self.id}: {self.problem}"


@dataclass(slots=True)
class Diagnosis:
    """The result of a check: what was checked, and what was found.

    `checked` is the number of records by kind, in the plural, such as `{"users": 3}`. `findings` has the first
    MAX_FINDINGS findings, and `count` is the number of all.
    """

    checked: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, findings: Iterable[Finding]) -> None:
        """Count all these findings, and keep them until MAX_FINDINGS are kept."""
        for finding in findings:
            self.count += 1
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class CheckStore:
    """Check all records of the store and the settings of its engine; nothing is changed.

    - Servers may use the store meanwhile. What looks wrong is read again after a pause, and is a finding only if it
      still looks wrong then.
    - Records are read in pages, so the memory that is needed does not depend on the size of the store.
    - Legal states are no findings: the history of deleted items and users, keys of deleted callers, and whatever has
      expired and was not purged yet.
    """

    store: Store
    now: Clock

    async def __call__(self, report: Report = lambda phase, kind, done, total: None) -> Diagnosis:
        """Check the settings and then all records, and return the Diagnosis.

        `report` is called after each page, with the phase `check`. Transfers are checked together with their items.
        """
        diagnosis = Diagnosis()
        unsafe = await self.store.unsafe_settings()
        diagnosis.add(Finding("setting", name, problem) for name, problem in unsafe.items())
        look = Look(self.store, self.now)
        for kind in KINDS:
            if kind is not Transfer:
                await self._check(kind, look, diagnosis, report)
        return diagnosis

    async def _check(self, kind: type[Record], look: "Look", diagnosis: Diagnosis, report: Report) -> None:
        """Check all records of one kind, page by page, with the transfers if the kind is Item.

        Confirmed findings and the numbers of records are added to `diagnosis`, and reported after each page.
        """
        kinds = [kind, Transfer] if kind is Item else [kind]
        totals = {each: await self.store.stream.count(each) for each in kinds}
        after, more = None, True
        while more:
            page = await look.at(kind, after, PAGE)
            diagnosis.add(await self._confirmed(page, kind, after))
            after, more = page.last, page.more
            for each in kinds:
                done = look.seen[each]
                report("check", each, done, max(totals[each], done + 1) if more else done)
                diagnosis.checked[label(each)] = done

    async def _confirmed(self, page: "Page", kind: type[Record], after: Identity | None) -> list[Finding]:
        """Return those findings of a page that a second look, after PAUSE seconds, has as well.

        `after` is where the page began. There is no second look if the page has no findings.
        """
        if not page.findings:
            return []
        await asyncio.sleep(PAUSE)
        again = await Look(self.store, self.now).at(kind, after, 2 * PAGE)
        still_there = set(again.findings)
        return [finding for finding in page.findings if finding in still_there]


@dataclass(frozen=True, slots=True)
class Page:
    """What was found in a page of records.

    `findings` are its inconsistencies. `last` is the identity of its last record, or where it began if it has none;
    `more` says whether further records may follow that can be read.
    """

    findings: list[Finding]
    last: Identity | None
    more: bool


class Look:
    """Looks for problems in pages of records of any kind: at() returns a Page with the findings.

    `seen` counts the records that were looked at, by kind. Users and sessions that exist are remembered, so that they
    need not be read again for each record that refers to them. For a second look at a page, make a new instance.

    A record is read before the records that it refers to. So one of these may be missing only because both were removed
    in between. If the record is still there at a second look, and still refers to a missing one, that is an error:
    nothing is removed before the records that refer to it, and no id is used again.
    """

    def __init__(self, store: Store, now: Clock) -> None:
        self.store = store
        self.now = now
        self.seen: dict[type[Record], int] = dict.fromkeys(KINDS, 0)
        self.usernames: dict[UserId, str] = {}
        self.sessions: dict[SessionId, Session] = {}

    async def at(self, kind: type[Record], after: Any, limit: int) -> Page:
        """Check up to `limit` records of a kind that follow `after` (None: from the first), and what they refer to.

        Return the findings as a Page, and add the numbers of checked records to `seen`. For items, their history is
        checked, too. A record that cannot be read ends the page, and is a finding.
        """

        async def read(after: Identity | None, limit: int) -> list[Record]:
            """Return up to `limit` stored records of the kind that follow `after` (None: from the first)."""
            return await self.store.stream.read(kind, after, limit)

        records, unreadable = await read_all(read, identity, after, limit)
        self.seen[kind] += len(records)
        findings = [finding for record in records for finding in await self._findings_of(record)]
        last = identity(records[-1]) if records else after
        more = len(records) == limit
        if unreadable:
            findings.append(unreadable_after(kind, last))
        if kind is Item:
            items = [record for record in records if isinstance(record, Item)]
            findings += await self._shown_wrongly(items, after)
            findings += await self._history(items, after, last if more or unreadable else None)
        return Page(findings, last, more)

    async def _findings_of(self, record: Record) -> list[Finding]:
        """Return a finding for each rule that a record breaks, and for each wrong reference; remember the record.

        An item's history is not looked at here. References are not judged if a record that they lead to cannot be read.
        """
        self._remember(record)
        problems = broken_rules(record, self.now())
        with suppress(*UNREADABLE):  # of a record that it refers to, which is a finding where that is looked at
            problems += await self._broken_references(record)
        return [Finding(singular(type(record)), name(identity(record)), problem) for problem in problems]

    def _remember(self, record: Record) -> None:
        """Keep a user's username, or a session, for the records that refer to it; do nothing for other kinds.

        Only so many are kept: what is not there has to be looked up in the store.
        """
        match record:
            case User():
                remember(self.usernames, record.id, record.username)
            case Session():
                remember(self.sessions, record.id, record)

    async def _broken_references(self, record: Record) -> list[str]:
        """Return a text for each wrong reference of the record, for example to an owner who does not exist.

        For a user these are the names that another user has, too. Raise one of UNREADABLE if a record that is referred
        to cannot be read.
        """
        match record:
            case User():
                return await self._taken_names(record)
            case Item() | Task():
                return await self._missing_user("owner", record.owner_id)
            case Session():
                return await self._missing_user("user", record.user_id) + await self._wrong_token(record)
            case SessionToken():
                return await self._wrong_session(record)
        return []

    async def _taken_names(self, user: User) -> list[str]:
        """Return a text for the e-mail address and one for the username if another user has the same, in any spelling.

        A user that has changed since it was read is not judged.
        """
        problems = []
        for what, text in ("e-mail address", user.email), ("username", user.username):
            found = await self.store.users.find_by_login(normalize_identifier(text))
            if found is not None and found.id != user.id:
                current = await self._find(User, user.id)
                if current is not None and current.version == user.version:  # else the name may have changed before
                    problems.append(f"user {found.id} has the same {what}")
        return problems

    async def _missing_user(self, what: str, user_id: UserId) -> list[str]:
        """Return one text if there is no such user, else none. `what` names the reference: `owner` or `user`."""
        return [] if await self._username(user_id) is not None else [f"its {what} {user_id} does not exist"]

    async def _username(self, user_id: UserId) -> str | None:
        """Return the user's name, which never changes; None if there is no such user."""
        if user_id not in self.usernames:
            try:
                user = await self.store.users.get(user_id)
            except NotFound:
                return None
            self._remember(user)
        return self.usernames[user_id]

    async def _wrong_token(self, session: Session) -> list[str]:
        """Return what is wrong with the session's current token: it is missing, or it belongs to another session.

        The list is empty if nothing is wrong. It is also empty for an expired session, which is not checked, because
        tokens are purged before sessions.
        """
        if session.expires_at <= self.now():
            return []
        token = await self._find(SessionToken, session.token_hash)
        if token is None:
            return ["its current token is not among the stored tokens"]
        return [] if token.session_id == session.id else [f"its current token belongs to session {token.session_id}"]

    async def _wrong_session(self, token: SessionToken) -> list[str]:
        """Return a text if the token's session is missing, or for each of user and expiry that differs from it.

        An expired token without a session is legal: it is left for the next purge.
        """
        if token.session_id not in self.sessions:
            found = await self._find(Session, token.session_id)
            if found is None:
                is_left = token.expires_at <= self.now()
                return [] if is_left else [f"its session {token.session_id} does not exist"]
            self._remember(found)
        session = self.sessions[token.session_id]
        problems = []
        if token.user_id != session.user_id:
            problems.append(f"it does not belong to the user of its session {session.id}")
        if token.expires_at != session.expires_at:
            problems.append(f"it does not expire with its session {session.id}")
        return problems

    async def _shown_wrongly(self, items: list[Item], after: ItemId | None) -> list[Finding]:
        """Return findings for items that the API shows with a username that is not their owner's.

        An adapter may store a copy of the username with each item. `after` is the item before the first of these, None
        if there is none. An item without an owner, or a page that cannot be read, gives no finding here, but elsewhere.
        """
        if not items:
            return []
        position = None if after is None else Position(after, after)
        window = Window(limit=len(items), after=position, count=False)
        try:
            page = await self.store.items.page(ItemFilter(), Sort("id"), window)
        except UNREADABLE:
            return []  # an item or an owner, which is a finding where that is looked at
        findings = []
        for owned in page.items:
            username = await self._username(owned.item.owner_id)
            if username is not None and owned.owner_username != username:
                problem = "it is shown with another username than its owner has"
                findings.append(Finding("item", name(owned.item.id), problem))
        return findings

    async def _history(self, items: list[Item], after: ItemId | None, last: Any) -> list[Finding]:
        """Return findings for the transfers of all items whose ids follow `after`, up to `last`; count them in `seen`.

        `after` None means from the first item, `last` None to the end. `items` are the stored items of this range.
        Other items in this range have been deleted, or were added after the items were read. If a transfer cannot be
        read, that is the last finding: later transfers and the items' counts of transfers are not checked.
        """
        by_id = {item.id: item for item in items}
        numbers: dict[ItemId, int] = {}
        findings: list[Finding] = []
        previous: Transfer | None = None
        position, more = None if after is None else (after, HIGHEST_NUMBER), True
        while more:
            page, unreadable = await read_all(self.store.stream.history, place, position, PAGE)
            transfers = [transfer for transfer in page if last is None or transfer.item_id <= last]
            for transfer in transfers:
                if previous is not None and previous.item_id != transfer.item_id:
                    previous = None
                findings += self._findings_of_transfer(previous, transfer, by_id.get(transfer.item_id))
                if transfer.item_id in by_id:
                    numbers[transfer.item_id] = transfer.number
                previous = transfer
            self.seen[Transfer] += len(transfers)
            if unreadable:
                return [*findings, unreadable_after(Transfer, place(page[-1])[0] if page else position and position[0])]
            more = len(transfers) == PAGE
            position = place(page[-1]) if page else None
        return findings + self._wrong_counts(items, numbers)

    def _findings_of_transfer(self, previous: Transfer | None, transfer: Transfer, item: Item | None) -> list[Finding]:
        """Return findings for a transfer by itself, for its place behind the previous one, and for its end at the item.

        `previous` is None for an item's first transfer, `item` None if it was deleted. What is wrong with the history
        is a finding about the item, not about the transfer.
        """
        in_history = [*broken_link(previous, transfer), *(broken_end(item, transfer) if item else ())]
        return [
            *(Finding("transfer", name(transfer.id), problem) for problem in broken_rules(transfer, self.now())),
            *(Finding("item", name(transfer.item_id), problem) for problem in in_history),
        ]

    def _wrong_counts(self, items: list[Item], numbers: dict[ItemId, int]) -> list[Finding]:
        """Return findings for items whose count of transfers is not the number of the last one in their history.

        The history was read after the items, so it may have newer transfers. At a second look the item counts these,
        so that this is not found again.
        """
        return [
            Finding(
                "item",
                name(item.id),
                f"it counts {item.transfers} transfers, but its history ends with number {numbers.get(item.id, 0)}",
            )
            for item in items
            if numbers.get(item.id, 0) != item.transfers
        ]

    async def _find(self, kind: type[R], id: UUID | bytes) -> R | None:
        """Read the record of this kind and identity from the store and return it; None if there is none.

        Raise one of UNREADABLE if the record that is found cannot be read.
        """
        found = await self.store.stream.read(kind, just_before(id), 1)
        return found[0] if found and identity(found[0]) == id else None


async def read_all(
    read: Callable[[P | None, int], Awaitable[list[T]]], position: Callable[[T], P], after: P | None, limit: int
) -> tuple[list[T], bool]:
    """Return up to `limit` records after `after`, and whether they end early because the next one cannot be read.

    `position` returns the place of a record, from which `read` goes on. If the page cannot be read as a whole, its
    records are read one by one.
    """
    with suppress(*UNREADABLE):
        return await read(after, limit), False
    records: list[T] = []
    while len(records) < limit:
        try:
            one = await read(after, 1)
        except UNREADABLE:
            return records, True
        if not one:
            break
        records += one
        after = position(one[0])
    return records, False


def place(transfer: Transfer) -> tuple[ItemId, int]:
    """Return the place of a transfer in the history of all items."""
    return transfer.item_id, transfer.number


def just_before(id: UUID | bytes) -> UUID | bytes | None:
    """Return the identity directly before this one in sorted order; None if this is the lowest.

    Of bytes, only those of the same length are considered.
    """
    number = id.int if isinstance(id, UUID) else int.from_bytes(id)
    if number == 0:
        return None
    return UUID(int=number - 1) if isinstance(id, UUID) else (number - 1).to_bytes(len(id))


def remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """Store a value in a cache; empty the cache before if it has MAX_REMEMBERED values."""
    if len(cache) >= MAX_REMEMBERED:
        cache.clear()
    cache[key] = value


def singular(kind: type[Record]) -> str:
    """Return the name of one record of a kind, for findings, such as `user` or `log-in attempt`."""
    return label(kind).removesuffix("s")


def name(id: Identity | None) -> str:
    """Return an identity as findings name it; None as `None`.

    A UUID is written as usual. Of a hash, the first 16 hex digits are written; of a key, the three parts with spaces
    between them.
    """
    match id:
        case bytes():
            return id.hex()[:16]
        case tuple():
            return " ".join(map(str, id))
    return str(id)


def unreadable_after(kind: type[Record], last: Identity | None) -> Finding:
    """Return the finding for a record that cannot be read, so that its own identity is not known.

    `last` is the identity of the record before it, or None if it is the first one.
    """
    where = "(the first one)" if last is None else f"(the one after {name(last)})"
    return Finding(singular(kind), where, "it cannot be read, so neither it nor what follows was checked")
