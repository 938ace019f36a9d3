"""A store with one of everything in it, and corruptions of it with what `handover doctor` has to find."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from application.ports import KeyId
from application.store import Store
from application.streaming import MARKER, Record, SessionToken, StoredKey
from application.use_cases.check_store import Diagnosis
from domain.item import Item, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item

HOUR = timedelta(hours=1)
EVERYWHERE = ("memory", "sqlite", "postgresql", "mongodb")


class Editor(Protocol):
    """Changes a store past its rules."""

    store: Store

    async def write(self, record: Record) -> None:
        """Store the record, even if what it refers to does not exist."""
        ...

    async def remove(self, record: Record) -> None:
        """Remove the record, and nothing of what refers to it."""
        ...

    async def set(self, record: Record, field: str, value: Any) -> None:
        """Set a stored field to a value that no record can have."""
        ...


@dataclass(frozen=True)
class World:
    """Ada has the lamp, Grace the vase after three transfers among the two; the rest is Ada's. Bob has nothing."""

    ada: User
    grace: User
    bob: User
    lamp: Item
    vase: Item
    transfers: list[Transfer]
    task: Task
    session: Session
    token: SessionToken
    used: SessionToken
    attempts: LoginAttempts
    key: StoredKey

    def records(self) -> list[list[Record]]:
        """In an order in which they can be written, each list of one kind."""
        return [
            [self.ada, self.grace, self.bob],
            [self.lamp, self.vase],
            [*self.transfers],
            [self.task],
            [self.session],
            [self.token, self.used],
            [self.attempts],
            [self.key],
        ]


def token_of(session: Session, **fields: Any) -> SessionToken:
    token = SessionToken(
        token_hash=session.token_hash,
        session_id=session.id,
        user_id=session.user_id,
        expires_at=session.expires_at,
    )
    return replace(token, **fields)


def a_world() -> World:
    ada, grace, bob = a_user(), a_user(), a_user()
    lamp, vase = an_item(ada), an_item(ada)
    transfers = []
    for to in (grace, ada, grace):
        transfers.append(a_transfer(vase, to, from_user_id=vase.owner_id))
        vase = replace(vase, owner_id=to.id, version=vase.version + 2, transfers=vase.transfers + 1)
    session = a_session(ada, version=2)
    return World(
        ada=ada,
        grace=grace,
        bob=bob,
        lamp=lamp,
        vase=vase,
        transfers=transfers,
        task=a_task(ada),
        session=session,
        token=token_of(session),
        used=token_of(session, token_hash=b"\x00" * 31 + b"\x01"),
        attempts=LoginAttempts(subject=b"s" * 32, failed=(NOON,), version=2),
        key=StoredKey(id=a_key(), fingerprint=b"request", expires_at=NOON + HOUR, answer=b"answer"),
    )


async def write_world(store: Store) -> World:
    world = a_world()
    for records in world.records():
        await store.stream.write(records)
    return world


@dataclass(frozen=True)
class Corruption:
    spoil: Callable[[Editor, World], Awaitable[None]]
    problems: tuple[str, ...]
    """What is found, all of it, each as `kind: problem`. Ids are left out."""
    engines: tuple[str, ...]


CORRUPTIONS: dict[str, Corruption] = {}
Spoil = Callable[[Editor, World], Awaitable[None]]


def found_as(*problems: str, engines: tuple[str, ...] = EVERYWHERE) -> Callable[[Spoil], Spoil]:
    def register(spoil: Spoil) -> Spoil:
        CORRUPTIONS[spoil.__name__.replace("_", "-")] = Corruption(spoil, problems, engines)
        return spoil

    return register


def problems_in(diagnosis: Diagnosis, world: World) -> list[str]:
    """The problems found, as corruptions state them: ids of the world become names."""
    names = {
        str(world.ada.id): "<ada>",
        str(world.grace.id): "<grace>",
        str(world.bob.id): "<bob>",
        str(world.session.id): "<session>",
    }
    texts = [f"{finding.kind}: {finding.problem}" for finding in diagnosis.findings]
    for id, name in names.items():
        texts = [text.replace(id, name) for text in texts]
    return sorted(texts)


# Users


@found_as("user: its e-mail address is not normalized")
async def an_email_in_capitals(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, email=world.bob.email.upper()))


@found_as("user: its e-mail address is not normalized", "user: user <ada> has the same e-mail address")
async def an_email_of_two_users(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, email=world.ada.email.upper()))


@found_as("user: its username is not normalized", "user: user <ada> has the same username")
async def a_username_of_two_users(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, username=world.ada.username.upper()))


@found_as("user: its e-mail address is not valid: not an e-mail address")
async def an_email_without_a_domain(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, email="bob@"))


@found_as("user: it has no password hash")
async def a_user_without_a_password(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, password_hash=""))


@found_as("user: it has version 0, and 1 is the lowest that is possible")
async def a_user_of_version_0(editor: Editor, world: World) -> None:
    await editor.write(replace(world.bob, version=0))


# Items


@found_as("item: its owner <grace> does not exist")
async def an_item_whose_owner_is_missing(editor: Editor, world: World) -> None:
    await editor.remove(world.grace)


@found_as("item: it does not belong to the user to whom its last transfer, 3, led")
async def an_item_with_another_owner(editor: Editor, world: World) -> None:
    await editor.write(replace(world.vase, owner_id=world.bob.id))


@found_as("item: it counts 4 transfers, but its history ends with number 3")
async def an_item_that_counts_too_many_transfers(editor: Editor, world: World) -> None:
    await editor.write(replace(world.vase, transfers=4))


@found_as("item: it counts 1 transfers, but its history ends with number 0")
async def an_item_without_the_history_that_it_counts(editor: Editor, world: World) -> None:
    await editor.write(replace(world.lamp, transfers=1, version=2))


@found_as("item: it counts 1 transfers, but its history ends with number 3")
async def an_item_that_counts_too_few_transfers(editor: Editor, world: World) -> None:
    await editor.write(replace(world.vase, transfers=1))


@found_as("item: it counts -1 transfers", "item: it counts -1 transfers, but its history ends with number 0")
async def an_item_that_counts_below_zero(editor: Editor, world: World) -> None:
    await editor.write(replace(world.lamp, transfers=-1))


@found_as(
    "item: it has version 3, and 4 is the lowest that is possible",
    "item: transfer 2 has version 4, but the item has version 3",
    "item: transfer 3 has version 6, but the item has version 3",
)
async def an_item_of_a_lower_version_than_its_transfers(editor: Editor, world: World) -> None:
    await editor.write(replace(world.vase, version=3))


@found_as("item: its name is not valid: must not be blank")
async def an_item_without_a_name(editor: Editor, world: World) -> None:
    await editor.write(replace(world.lamp, name=" "))


@found_as("item: its description is not valid: at most 2000 characters")
async def an_item_with_a_long_description(editor: Editor, world: World) -> None:
    await editor.write(replace(world.lamp, description="x" * 2001))


@found_as("item: its price is not valid: between 0 and 9999999999.99")
async def a_negative_price(editor: Editor, world: World) -> None:
    await editor.write(replace(world.lamp, price=Decimal("-0.01")))


@found_as("item: it is shown with another username than its owner has", engines=("mongodb",))
async def an_item_with_another_username(editor: Editor, world: World) -> None:
    await editor.set(world.lamp, "owner_username", "nobody")


@found_as("item: one of its fields has a value of a wrong type", engines=("memory", "sqlite", "mongodb"))
async def a_version_that_is_no_number(editor: Editor, world: World) -> None:
    await editor.set(world.lamp, "version", "one")


# Transfers


@found_as("item: transfer 3 follows transfer 1")
async def a_gap_in_a_history(editor: Editor, world: World) -> None:
    await editor.remove(world.transfers[1])


@found_as("item: its history begins with transfer 2")
async def a_history_without_its_beginning(editor: Editor, world: World) -> None:
    await editor.remove(world.transfers[0])


@found_as("item: it counts 3 transfers, but its history ends with number 2")
async def a_history_without_its_end(editor: Editor, world: World) -> None:
    await editor.remove(world.transfers[2])


@found_as("item: transfer 2 does not start from the owner to whom transfer 1 led")
async def a_transfer_from_another_user(editor: Editor, world: World) -> None:
    await editor.write(replace(world.transfers[1], from_user_id=world.bob.id))


@found_as("item: transfer 3 follows transfer 1")
async def a_gap_in_the_history_of_a_deleted_item(editor: Editor, world: World) -> None:
    await editor.remove(world.vase)
    await editor.remove(world.transfers[1])


@found_as("item: transfer 3 does not start from the owner to whom transfer 2 led", "transfer: " + (
    "it leads to the owner from whom it starts"
))  # fmt: skip
async def a_transfer_to_the_owner(editor: Editor, world: World) -> None:
    await editor.write(replace(world.transfers[2], from_user_id=world.grace.id))


@found_as("item: the version of transfer 2 is not higher than that of transfer 1")
async def versions_that_fall(editor: Editor, world: World) -> None:
    await editor.write(replace(world.transfers[0], version=5))
    await editor.write(replace(world.transfers[1], version=5))


@found_as("item: transfer 3 has version 99, but the item has version 7")
async def a_transfer_of_a_higher_version_than_its_item(editor: Editor, world: World) -> None:
    await editor.write(replace(world.transfers[2], version=99))


@found_as("transfer: it has version 1, and 2 is the lowest that is possible")
async def a_transfer_of_the_version_of_a_new_item(editor: Editor, world: World) -> None:
    await editor.write(replace(world.transfers[0], version=1))


# Tasks


@found_as("task: its owner <bob> does not exist")
async def a_task_whose_owner_is_missing(editor: Editor, world: World) -> None:
    await editor.write(replace(world.task, owner_id=world.bob.id))
    await editor.remove(world.bob)


@found_as("task: its title is not valid: must not be blank")
async def a_task_without_a_title(editor: Editor, world: World) -> None:
    await editor.write(replace(world.task, title=""))


@found_as("task: its description is not valid: at most 2000 characters")
async def a_task_with_a_long_description(editor: Editor, world: World) -> None:
    await editor.write(replace(world.task, description="x" * 2001))


@found_as("task: it has version 0, and 1 is the lowest that is possible")
async def a_task_of_version_0(editor: Editor, world: World) -> None:
    await editor.write(replace(world.task, version=0))


@found_as(
    "task: it cannot be read, so neither it nor what follows was checked", engines=("sqlite", "postgresql", "mongodb")
)
async def a_task_of_an_unknown_status(editor: Editor, world: World) -> None:
    await editor.set(world.task, "status", "forgotten")


# Sessions and tokens


@found_as("session: its user <bob> does not exist")
async def a_session_whose_user_is_missing(editor: Editor, world: World) -> None:
    await editor.write(replace(world.session, user_id=world.bob.id))
    for token in (world.token, world.used):
        await editor.write(replace(token, user_id=world.bob.id))
    await editor.remove(world.bob)


@found_as("session: its current token is not among the stored tokens")
async def a_session_without_its_token(editor: Editor, world: World) -> None:
    await editor.remove(world.token)


@found_as("session: its current token belongs to session <session>")
async def a_session_with_the_token_of_another(editor: Editor, world: World) -> None:
    await editor.write(a_session(world.bob, token_hash=world.token.token_hash))


@found_as("session: it has version 1, and 2 is the lowest that is possible")
async def a_session_that_was_revoked_without_a_new_version(editor: Editor, world: World) -> None:
    await editor.write(replace(world.session, revoked=True, version=1))


@found_as("session token: its session <session> does not exist", "session token: its session <session> does not exist")
async def tokens_without_their_session(editor: Editor, world: World) -> None:
    await editor.remove(world.session)


@found_as("session token: it does not belong to the user of its session <session>", engines=("memory", "mongodb"))
async def a_token_of_another_user(editor: Editor, world: World) -> None:
    await editor.write(replace(world.used, user_id=world.bob.id))


@found_as("session token: it does not expire with its session <session>", engines=("mongodb",))
async def a_token_that_expires_too_late(editor: Editor, world: World) -> None:
    await editor.write(replace(world.used, expires_at=world.used.expires_at + HOUR))


@found_as("session token: it does not expire with its session <session>", engines=("mongodb",))
async def a_token_that_has_expired_too_early(editor: Editor, world: World) -> None:
    await editor.write(replace(world.used, expires_at=NOON - HOUR))


# Log-in attempts and idempotency keys


@found_as("log-in attempt: one of its attempts is in the future: the clock of a server is or was wrong")
async def an_attempt_in_the_future(editor: Editor, world: World) -> None:
    await editor.write(replace(world.attempts, pending=(NOON + HOUR,)))


@found_as("log-in attempt: it has version 0, and 1 is the lowest that is possible")
async def attempts_of_version_0(editor: Editor, world: World) -> None:
    await editor.write(replace(world.attempts, version=0))


@found_as("idempotency key: it has no answer")
async def a_key_without_an_answer(editor: Editor, world: World) -> None:
    await editor.write(replace(world.key, answer=b""))


@found_as("idempotency key: it marks an unfinished copy of another store: run `handover copy` again")
async def the_mark_of_an_unfinished_copy(editor: Editor, world: World) -> None:
    await editor.write(replace(world.key, id=MARKER))


@dataclass(frozen=True)
class LegalState:
    change: Spoil
    engines: tuple[str, ...]


LEGAL: dict[str, LegalState] = {}


def legal(change: Spoil, engines: tuple[str, ...] = EVERYWHERE) -> Spoil:
    LEGAL[change.__name__.replace("_", "-")] = LegalState(change, engines)
    return change


@legal
async def nothing_is_changed(editor: Editor, world: World) -> None: ...


@legal
async def an_item_was_deleted(editor: Editor, world: World) -> None:
    await editor.remove(world.vase)


@legal
async def a_former_owner_was_deleted(editor: Editor, world: World) -> None:
    """Grace has given the lamp away."""
    lamp = replace(world.lamp, owner_id=world.bob.id, version=3, transfers=2)
    await editor.remove(world.vase)
    await editor.write(a_transfer(replace(world.lamp, version=1), world.grace))
    await editor.write(a_transfer(replace(world.lamp, owner_id=world.grace.id, version=2, transfers=1), world.bob))
    await editor.write(lamp)
    await editor.remove(world.grace)


@legal
async def a_caller_was_deleted(editor: Editor, world: World) -> None:
    await editor.write(replace(world.key, id=KeyId(world.bob.id, "POST /items", "a key")))
    await editor.remove(world.bob)


@legal
async def an_expired_session_is_half_purged(editor: Editor, world: World) -> None:
    await editor.write(replace(world.session, expires_at=NOON - HOUR))
    await editor.remove(world.token)
    await editor.remove(world.used)


@legal
async def an_expired_key_is_still_there(editor: Editor, world: World) -> None:
    await editor.write(replace(world.key, expires_at=NOON - HOUR))


@legal
async def a_session_was_revoked(editor: Editor, world: World) -> None:
    await editor.write(replace(world.session, revoked=True, version=3))


@legal
async def attempts_of_which_none_is_left(editor: Editor, world: World) -> None:
    await editor.write(LoginAttempts(subject=b"t" * 32))


@partial(legal, engines=("mongodb",))
async def an_expired_token_was_added_during_a_purge(editor: Editor, world: World) -> None:
    await editor.remove(world.session)
    for token in (world.token, world.used):
        await editor.write(replace(token, expires_at=NOON - HOUR))
