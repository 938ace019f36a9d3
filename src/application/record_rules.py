"""What the domain guarantees of stored records, as checks of a record on its own and of an item's history."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from application.streaming import MARKER, Record, SessionToken, StoredKey
from domain.errors import Invalid
from domain.item import MAX_NAME_LENGTH, Item, Transfer, checked_price
from domain.session import ATTEMPT_WINDOW, LoginAttempts, Session
from domain.task import MAX_TITLE_LENGTH, Task
from domain.text import checked_description, checked_name
from domain.user import User, checked_email, checked_username

T = TypeVar("T")

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors that adapters and checks raise for a record that lacks a field, or has a value of a wrong type in one."""


def broken_rules(record: Record, at: datetime) -> list[str]:
    """Return one text for each rule that this record breaks by itself, or a single one if it cannot be read.

    `at` is the time of the check: log-in attempts must not be much later than that.
    """
    try:
        return [*_broken_rules(record, at)]
    except UNREADABLE:
        return ["one of its fields has a value of a wrong type"]


def _broken_rules(record: Record, at: datetime) -> Iterator[str]:
    """Yield the texts of broken_rules(); raise one of UNREADABLE for a field of a wrong type."""
    match record:
        case User():
            yield from _faults_of_user(record)
        case Item():
            yield from _faults_of_item(record)
        case Transfer():
            yield from _faults_of_transfer(record)
        case Task():
            yield from _faults_of_task(record)
        case Session():
            yield from _faults_of_session(record)
        case LoginAttempts():
            yield from _faults_of_attempts(record, at)
        case StoredKey():
            yield from _faults_of_key(record)
        case SessionToken():
            pass  # it has no rules of its own


def _faults_of_user(user: User) -> Iterator[str]:
    """Yield a text for each rule that the user breaks."""
    yield from _unless_accepted("e-mail address", user.email, checked_email)
    yield from _unless_accepted("username", user.username, checked_username)
    if not user.password_hash:
        yield "it has no password hash"
    yield from _unless_at_least(1, user.version)


def _faults_of_item(item: Item) -> Iterator[str]:
    """Yield a text for each rule that the item breaks; raise one of UNREADABLE for a field of a wrong type."""
    yield from _unless_accepted("name", item.name, lambda name: checked_name("name", name, max_length=MAX_NAME_LENGTH))
    yield from _unless_accepted("description", item.description, checked_description)
    yield from _unless_accepted("price", item.price, checked_price)
    if item.transfers < 0:
        yield f"it counts {item.transfers} transfers"
    yield from _unless_at_least(item.transfers + 1, item.version)  # each transfer is a new version


def _faults_of_transfer(transfer: Transfer) -> Iterator[str]:
    """Yield a text if the transfer's sender is also its recipient, and one if its version is lower than possible."""
    if transfer.from_user_id == transfer.to_user_id:
        yield "it leads to the owner from whom it starts"
    yield from _unless_at_least(transfer.number + 1, transfer.version)


def _faults_of_task(task: Task) -> Iterator[str]:
    """Yield a text for each rule that the task breaks."""
    yield from _unless_accepted(
        "title", task.title, lambda title: checked_name("title", title, max_length=MAX_TITLE_LENGTH)
    )
    yield from _unless_accepted("description", task.description, checked_description)
    yield from _unless_at_least(1, task.version)


def _faults_of_session(session: Session) -> Iterator[str]:
    """Yield a text if the version is lower than 1, or than 2 for a revoked session. Being expired is no fault."""
    yield from _unless_at_least(2 if session.revoked else 1, session.version)  # revoking is a new version


def _faults_of_attempts(attempts: LoginAttempts, at: datetime) -> Iterator[str]:
    """Yield a text if an attempt is more than ATTEMPT_WINDOW after `at`, and one if the version is too low.

    The lowest version is 1, or 0 if there are no attempts.
    """
    times = (*attempts.failed, *attempts.pending)
    if any(time > at + ATTEMPT_WINDOW for time in times):  # clocks of servers may differ, but not by that much
        yield "one of its attempts is in the future: the clock of a server is or was wrong"
    yield from _unless_at_least(1 if times else 0, attempts.version)  # each attempt is a new version


def _faults_of_key(key: StoredKey) -> Iterator[str]:
    """Yield a text if the key is the MARKER of an unfinished copy, or if any other key has no answer."""
    if key.id == MARKER:
        yield "it marks an unfinished copy of another store: run `handover copy` again"
    elif not key.answer:
        yield "it has no answer"


def _unless_accepted(field: str, value: T, check: Callable[[T], T]) -> Iterator[str]:
    """Yield a text unless the domain's check accepts the value and returns it unchanged."""
    try:
        if check(value) != value:
            yield f"its {field} is not normalized"
    except Invalid as error:
        yield f"its {field} is not valid: {error}"


def _unless_at_least(least: int, version: int) -> Iterator[str]:
    """Yield a text unless the version is at least `least`."""
    if version < least:
        yield f"it has version {version}, and {least} is the lowest that is possible"


def broken_link(previous: Transfer | None, transfer: Transfer) -> Iterator[str]:
    """Yield a text for each contradiction between a transfer and the previous one of the same item.

    The number must be the next one, the sender the previous recipient, and the version higher. `previous` is None for
    the first transfer that is stored of an item; its number must be 1.
    """
    if previous is None:
        if transfer.number != 1:
            yield f"its history begins with transfer {transfer.number}"
        return
    if transfer.number != previous.number + 1:
        yield f"transfer {transfer.number} follows transfer {previous.number}"
    elif transfer.from_user_id != previous.to_user_id:
        yield f"transfer {transfer.number} does not start from the owner to whom transfer {previous.number} led"
    if transfer.version <= previous.version:
        yield f"the version of transfer {transfer.number} is not higher than that of transfer {previous.number}"


def broken_end(item: Item, transfer: Transfer) -> Iterator[str]:
    """Yield a text for each contradiction between an item and one of its transfers.

    The transfer's version must not be above the item's, and the recipient of the last transfer must be the owner. A
    transfer that was made after the item was read (its number is above the item's count) is not judged.
    """
    if transfer.number <= item.transfers and transfer.version > item.version:
        yield f"transfer {transfer.number} has version {transfer.version}, but the item has version {item.version}"
    if transfer.number == item.transfers and transfer.to_user_id != item.owner_id:
        yield f"it does not belong to the user to whom its last transfer, {transfer.number}, led"
