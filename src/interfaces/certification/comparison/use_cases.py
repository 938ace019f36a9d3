"""All use cases on one store, with predictable times, ids and tokens, so that two stores can be compared."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import count, pairwise
from typing import Any, Generic, TypeVar
from uuid import UUID

from application.errors import TryAgain
from application.idempotency import IdempotentRequest, Replay, idempotent
from application.paging import Page, Sort, Window
from application.ports import Begin, KeyId, UnitOfWork
from application.readers import ItemFilter
from application.store import Store
from application.transact import Transact
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem, TransferItem
from application.use_cases.passwords import VerifyPassword
from application.use_cases.sessions import RefreshSession, SignIn, SignOut
from application.use_cases.tasks import ChangeTask, CreateTask, DeleteTask
from application.use_cases.users import (
    ActivateUser,
    ChangeAccount,
    CreateUser,
    DeactivateUser,
    DeleteAccount,
    ReadAccount,
)
from domain.errors import Conflict, DomainError, NotFound
from domain.item import Transfer
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens

T = TypeVar("T")

SECONDS_TO_ANSWER = 60.0
"""Seconds after which a use case that has not ended counts as hanging."""
FAILURES = 3
LIFETIME = timedelta(days=30)


class Difference(AssertionError):
    """The two stores have given different results."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The result of a call, or the text of the error that it raised."""

    answer: T | None = None
    refusal: str | None = None
    may_come_later: bool = False
    """Whether an engine may raise this error as late as at commit(), which the ports allow for conflicts."""


async def outcome(call: Awaitable[T]) -> Outcome[T]:
    """Await the call and return its result, or its DomainError, Replay or TryAgain as text.

    `may_come_later` is set for TryAgain and for Conflict, one of the DomainErrors.

    Other errors are raised, as is TimeoutError after 2 * SECONDS_TO_ANSWER.
    """
    try:
        async with asyncio.timeout(2 * SECONDS_TO_ANSWER):
            return Outcome(_counted(await call))
    except Replay as replay:
        return Outcome(refusal=f"replay of {replay.answer!r}")
    except TryAgain:
        return Outcome(refusal="try again", may_come_later=True)
    except DomainError as refusal:
        facts = [type(refusal).__name__, *refusal.args]
        facts += [getattr(refusal, fact, None) for fact in ("field", "retry_after")]
        return Outcome(refusal=repr(facts), may_come_later=isinstance(refusal, Conflict))


def _counted(answer: T) -> T:
    """Return a Counter sorted and without zeros, since adapters may differ in these; anything else as it is."""
    return Counter(dict(sorted((+answer).items()))) if isinstance(answer, Counter) else answer  # type: ignore[return-value]


def compare(expected: object, actual: object) -> None:
    """Raise Difference unless both have the same repr(). `==` is too lenient: a text may equal an enum member."""
    if repr(expected) != repr(actual):
        raise Difference(f"expected {expected!r}\n     got {actual!r}")


def scattered_ids() -> Iterator[UUID]:
    """Yield UUIDs of version 7, the same in each run, that do not ascend, like those of workers whose clocks differ."""
    for number in count():
        bits = int.from_bytes(sha256(str(number).encode()).digest()[:16])
        yield UUID(int=bits & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62)


class UseCases:
    """All use cases on one store, with fake passwords and tokens. Two instances create the same ids and tokens."""

    def __init__(self, store: Store, clock: SetClock) -> None:
        ids, tokens = scattered_ids(), count()
        passwords, access = FakePasswords(), FakeTokens()

        def new_id() -> UUID:
            """Return the next id, the same in every instance."""
            return next(ids)

        def new_token() -> str:
            """Return the next refresh token: `token 0`, `token 1` and so on, the same in every instance."""
            return f"token {next(tokens)}"

        self.store = store
        transact = Transact(store.begin, clock, deadline=SECONDS_TO_ANSWER)
        verify_password = VerifyPassword(transact, passwords, clock, FAILURES, 2 * FAILURES)
        self.create_user = CreateUser(transact, passwords, new_id, clock)
        self.read_account = ReadAccount(store.users)
        self.change_account = ChangeAccount(transact, store.users, verify_password, passwords)
        self.delete_account = DeleteAccount(transact)
        self.activate_user = ActivateUser(transact, store.users)
        self.deactivate_user = DeactivateUser(transact, store.users)
        self.sign_in = SignIn(
            transact, store.users, verify_password, passwords, access, new_token, new_id, clock, lifetime=LIFETIME
        )
        self.refresh = RefreshSession(transact, access, new_token, clock)
        self.sign_out = SignOut(transact)
        self.create_item = CreateItem(transact, new_id, clock)
        self.change_item = ChangeItem(transact)
        self.delete_item = DeleteItem(transact)
        self.transfer_item = TransferItem(transact, new_id, clock)
        self.create_task = CreateTask(transact, new_id, clock)
        self.change_task = ChangeTask(transact)
        self.delete_task = DeleteTask(transact)


async def with_idempotency_key(call: Awaitable[T], key: KeyId | None, fingerprint: bytes) -> T:
    """Await the call of a use case with this idempotency key, and return its result; without one if `key` is None.

    Raise what the call raises, which includes Replay if the key has an answer, and Difference if the answer that was
    stored with the key is not that of the result.
    """
    if key is None:
        return await call
    request = IdempotentRequest(key, fingerprint, lambda result: repr(result).encode())
    with idempotent(request):
        answer = await call
    compare(repr(answer).encode(), request.answer)
    return answer


class OpenUnit:
    """A unit of work that stays open while its steps are run one by one.

    It runs in an asyncio task of its own, because the task that enters a unit of work has to leave it, too. If it
    cannot be begun, the first step raises the error.
    """

    def __init__(self, begin: Begin) -> None:
        self._steps: asyncio.Queue[tuple[Callable[[UnitOfWork], Awaitable[Any]], asyncio.Future[Any]]] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._run(begin))

    async def run(self, step: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run one step, and return its result. An error of the step ends the unit of work, and is raised."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._steps.put_nowait((step, answer))
        both: set[asyncio.Future[Any]] = {answer, self._task}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await self._task  # it has failed
        return answer.result()

    async def exit(self) -> None:
        """Leave the unit of work without an error and without committing."""
        await self.run(_exit)
        await self._task

    async def exit_with_error(self) -> None:
        """Leave the unit of work by an exception, so that it is rolled back."""
        try:
            await self.run(_raise)
        except _IntendedError:
            return

    async def cancel(self) -> None:
        """Cancel the task in which the unit of work is open, whatever it is doing, so that it is rolled back.

        Wait until the task has ended; its errors are ignored.
        """
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, begin: Begin) -> None:
        """Enter a unit of work and run its steps as they arrive, until one of them exits or fails.

        The result of a step is set as its answer. An error of a step is raised from here, so that it leaves the unit of
        work; the step then gets no answer, and run() finds the error in this task.
        """
        async with begin() as uow:
            step: object = None
            while step is not _exit:
                step, answer = await self._steps.get()
                answer.set_result(await step(uow))


class _IntendedError(Exception):
    """The exception by which exit_with_error() leaves a unit of work."""


async def _exit(_: UnitOfWork) -> None:
    """Do nothing. OpenUnit leaves its unit of work after this step."""


async def _raise(_: UnitOfWork) -> None:
    raise _IntendedError


async def check_histories(store: Store) -> None:
    """Raise Difference unless each item's transfers are numbered from 1 without a gap and lead to its owner.

    Each must begin with the user at whom the one before ended, and have a higher version, up to that of the item. An
    item that is listed must be found. The first 100 items are read, and the first 100 transfers of each.
    """
    for owned in (await store.items.page(ItemFilter(), Sort("id"), Window(limit=100))).items:
        item = owned.item
        try:
            history: Page[Transfer] = await store.transfers.page(item.id, Window(limit=100))
        except NotFound:
            raise Difference(f"{item} is listed but not there") from None
        transfers = history.items
        compare(list(range(1, item.transfers + 1)), [transfer.number for transfer in transfers])
        for earlier, later in pairwise(transfers):
            compare(earlier.to_user_id, later.from_user_id)
            compare(True, earlier.version < later.version <= item.version)
        if transfers:
            compare(transfers[-1].to_user_id, item.owner_id)
