"""Every use case that writes, each with what it is called with, in a world that has a record of each kind."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any
from unittest.mock import patch

from application.idempotency import Replay
from application.ports import KeyId
from application.store import Store
from application.streaming import KINDS, Record, SessionToken, StoredKey, identity
from application.use_cases.purge import PurgeExpired
from application.use_cases.sessions import hash_token
from domain.errors import Unauthenticated
from domain.item import ItemChanges, ItemId, TransferId
from domain.session import LoginAttempts, SessionId
from domain.task import TaskChanges, TaskId, TaskStatus
from domain.user import UserId
from interfaces.certification.comparison import use_cases
from interfaces.certification.comparison.use_cases import UseCases, scattered_ids, with_idempotency_key
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item, uuid7
from interfaces.testing.clock_and_ids import SetClock

ADDRESS = "192.0.2.1"


def person(number: int, name: str, **fields: Any) -> Any:
    id, address = UserId(uuid7(number)), f"{name}@example.org"
    return a_user(id=id, email=address, username=name, password_hash=f"hash of {name}", **fields)


# The ids are fixed: a process that is to be killed makes the same world.
ada, grace, bob = person(1, "ada"), person(2, "grace"), person(3, "bob")
eve, kim = person(4, "eve", is_active=False), replace(person(5, "kim"), password_hash="old hash of kim")
was_lamp = an_item(grace, id=ItemId(uuid7(6)))
first_transfer = a_transfer(was_lamp, ada, id=TransferId(uuid7(7)))
lamp = replace(was_lamp, owner_id=ada.id, version=2, transfers=1)
task, bobs_task = a_task(ada, id=TaskId(uuid7(8))), a_task(bob, id=TaskId(uuid7(9)))
session = a_session(ada, id=SessionId(uuid7(10)), token_hash=hash_token("second"), version=2)
used_token = replace(SessionToken.of(session), token_hash=hash_token("first"))
bobs_session = a_session(bob, id=SessionId(uuid7(11)), token_hash=hash_token("bobs"))
expired_session = a_session(ada, id=SessionId(uuid7(12)), token_hash=hash_token("expired"), expires_at=NOON)
expired_key = StoredKey(id=a_key(caller=ada.id), fingerprint=b"", expires_at=NOON, answer=b"answer")
old = NOON - timedelta(hours=1)
expired_attempts = LoginAttempts(subject=b"expired" * 4 + b"....", failed=(old,), version=1)

WORLD: tuple[Record, ...] = (
    *(ada, grace, bob, eve, kim),
    *(lamp, first_transfer, task, bobs_task),
    *(session, bobs_session, expired_session),
    *(SessionToken.of(session), used_token, SessionToken.of(bobs_session), SessionToken.of(expired_session)),
    *(expired_attempts, expired_key),
)


class NoRefusal(Exception):
    """Is never raised."""


@dataclass(frozen=True, slots=True)
class Write:
    """A call of a use case that writes."""

    call: Callable[[UseCases, SetClock], Awaitable[object]]
    commits: int | None = 1
    """How many transactions it consists of, or None if that depends on the engine."""
    refusal: type[Exception] = NoRefusal
    """The error that it raises after its commit."""
    takes_key: bool = False


async def sign_up(all: UseCases, _: SetClock) -> object:
    sign_up = replace(all.create_user, max_per_address=5)
    return await sign_up(email="zoe@example.org", username="zoe", password="a good password", address=ADDRESS)


WRITES: Mapping[str, Write] = {
    "transfer item": Write(lambda all, _: all.transfer_item(lamp.id, by=ada.id, to=grace.id), takes_key=True),
    "create item": Write(
        lambda all, _: all.create_item(by=ada.id, name="Book", description=None, price=Decimal(1)), takes_key=True
    ),
    "change item": Write(lambda all, _: all.change_item(lamp.id, ItemChanges(name="Lantern"), by=ada.id)),
    "delete item": Write(lambda all, _: all.delete_item(lamp.id, by=ada.id)),
    "create task": Write(
        lambda all, _: all.create_task(by=ada.id, title="Polish", description=None, status=TaskStatus.PENDING),
        takes_key=True,
    ),
    "change task": Write(lambda all, _: all.change_task(task.id, TaskChanges(title="Polish it"), by=ada.id)),
    "delete task": Write(lambda all, _: all.delete_task(task.id, by=ada.id)),
    "sign up": Write(sign_up, commits=2),
    "change e-mail address": Write(
        lambda all, _: all.change_account(
            ada.id, by=ada.id, current_password="ada", email="new@example.org", address=ADDRESS
        ),
        commits=2,
    ),
    "change password": Write(
        lambda all, _: all.change_account(
            ada.id, by=ada.id, current_password="ada", password="a good password", address=ADDRESS
        ),
        commits=2,
    ),
    "delete account": Write(lambda all, _: all.delete_account(bob.id, by=bob.id)),
    "activate": Write(lambda all, _: all.activate_user("eve")),
    "deactivate": Write(lambda all, _: all.deactivate_user("ada")),
    "sign in": Write(lambda all, _: all.sign_in(login="ada", password="ada", address=ADDRESS), commits=2),
    "sign in wrongly": Write(
        lambda all, _: all.sign_in(login="ada", password="wrong", address=ADDRESS), commits=2, refusal=Unauthenticated
    ),
    "sign in and rehash": Write(lambda all, _: all.sign_in(login="kim", password="kim", address=ADDRESS), commits=3),
    "refresh": Write(lambda all, _: all.refresh(refresh_token="second")),
    "refresh with a used token": Write(lambda all, _: all.refresh(refresh_token="first"), refusal=Unauthenticated),
    "sign out": Write(lambda all, _: all.sign_out(refresh_token="second")),
    "purge": Write(lambda all, clock: PurgeExpired(all.store, clock)(), commits=None),
}


async def run(name: str, with_key: bool, store: Store, *, ids_from: int = 0) -> None:
    """Call it; an answer that is replayed is as good as the first one. Its ids are the same in each run from 0."""
    write, clock = WRITES[name], SetClock()
    with patch.object(use_cases, "scattered_ids", lambda: islice(scattered_ids(), ids_from, None)):
        call = write.call(UseCases(store, clock), clock)
    key = KeyId(ada.id, "POST /somewhere", "a key") if with_key else None
    try:
        await with_idempotency_key(call, key, b"fingerprint")
    except Replay:
        assert with_key
    except write.refusal:
        pass
    else:
        assert write.refusal is NoRefusal


State = dict[str, list[Record]]
"""All records of a store, by their kind."""


async def state_of(store: Store) -> State:
    return {kind.__name__: await store.stream.read(kind, None, 1_000) for kind in KINDS}


def without_attempts(state: State) -> State:
    return state | {LoginAttempts.__name__: []}


async def fill(store: Store) -> None:
    """Store the world in an empty store."""
    for kind in KINDS:
        await store.stream.write(sorted((record for record in WORLD if type(record) is kind), key=identity))
