"""The transaction boundary: what is run again, what is not, and what a key guarantees."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from application import transact as boundary
from application.errors import Busy, KeyInFlight, KeyReused, OutcomeUnknown, RequestInProgress, TryAgain, Unavailable
from application.idempotency import KEY_LIFETIME, IdempotentRequest, Replay, idempotent
from application.ports import Begin, KeyId, UnitOfWork
from application.store import Store
from application.transact import Transact, collect_reruns
from domain.errors import Conflict, NotFound
from domain.user import User
from interfaces.testing.builders import a_key, a_user, new_id
from interfaces.testing.clock_and_ids import SetClock

SOON = 0.05


async def nothing() -> None: ...


@dataclass
class SignUp:
    """Work with an effect that can be counted, and something that happens before it returns."""

    user: User = field(default_factory=a_user)
    then: Callable[[], Awaitable[None]] = nothing
    runs: int = 0

    async def __call__(self, uow: UnitOfWork) -> User:
        self.runs += 1
        await uow.users.add(self.user)
        await self.then()
        return self.user


def failing(*errors: Exception) -> Callable[[], Awaitable[None]]:
    """What raises these, one each time, and then no more."""
    left = iter(errors)

    async def fail() -> None:
        for error in left:
            raise error

    return fail


def committing(
    begin: Begin,
    *,
    before: Callable[[], Awaitable[None]] = nothing,
    after: Callable[[], Awaitable[None]] = nothing,
) -> Begin:
    """Units of work of the in-memory adapter, at whose commit something happens."""

    @asynccontextmanager
    async def begin_and_meddle(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        async with begin(optimistic=optimistic) as uow:
            commit = uow.commit

            async def meddled() -> None:
                await before()
                await commit()
                await after()

            uow.commit = meddled  # type: ignore[method-assign]
            yield uow

    return begin_and_meddle


def once(key: KeyId, fingerprint: bytes = b"request", answer: bytes = b"answer") -> IdempotentRequest:
    return IdempotentRequest(key, fingerprint, render=lambda result: answer)


@pytest.fixture
def key() -> KeyId:
    return a_key()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "KEY_WAIT_SECONDS", SOON)


async def exists(store: Store, user: User) -> bool:
    try:
        return await store.users.get(user.id) == user
    except NotFound:
        return False


# Without a key


async def test_the_result_is_returned_once_it_is_committed(transact: Transact, store: Store) -> None:
    work = SignUp()
    assert await transact(work) is work.user
    assert await exists(store, work.user)


async def test_a_refusal_undoes_everything_and_is_not_tried_again(transact: Transact, store: Store) -> None:
    work = SignUp(then=failing(Conflict("no", "no")))
    with pytest.raises(Conflict):
        await transact(work)
    assert work.runs == 1
    assert not await exists(store, work.user)


async def test_conflicts_are_tried_again(transact: Transact, store: Store) -> None:
    work = SignUp(then=failing(TryAgain(), TryAgain(), TryAgain()))
    await transact(work)
    assert work.runs == 4
    assert await exists(store, work.user)


async def test_the_reasons_of_reruns_can_be_collected(begin: Begin, clock: SetClock) -> None:
    trouble = failing(TryAgain("a conflict"), KeyInFlight("in use"), OutcomeUnknown("the connection was lost"))
    before, reasons = collect_reruns(), collect_reruns()
    with idempotent(once(a_key())):
        await asyncio.create_task(Transact(committing(begin, before=trouble), clock)(SignUp()))
    assert reasons == ["conflict", "key-in-flight", "outcome-unknown"]
    assert before == []


async def test_conflicts_at_commit_are_tried_again(begin: Begin, clock: SetClock, store: Store) -> None:
    work = SignUp()
    await Transact(committing(begin, before=failing(TryAgain(), TryAgain())), clock)(work)
    assert work.runs == 3
    assert await exists(store, work.user)


async def test_conflicts_at_the_beginning_are_tried_again(begin: Begin, clock: SetClock) -> None:
    fail = failing(TryAgain())

    @asynccontextmanager
    async def stumble(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        await fail()
        async with begin() as uow:
            yield uow

    work = SignUp()
    await Transact(stumble, clock)(work)
    assert work.runs == 1


async def test_each_attempt_has_a_unit_of_work_of_its_own(transact: Transact) -> None:
    units: list[UnitOfWork] = []

    async def work(uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) < 3:
            raise TryAgain

    await transact(work)
    assert len({id(uow) for uow in units}) == 3


async def test_whoever_never_gets_through_is_told_that_it_is_busy(begin: Begin, clock: SetClock) -> None:
    async def work(uow: UnitOfWork) -> None:
        raise TryAgain

    async with asyncio.timeout(60):
        with pytest.raises(Busy):
            await Transact(begin, clock, deadline=SOON)(work)


async def test_whoever_hangs_is_told_that_it_is_busy(begin: Begin, clock: SetClock, store: Store) -> None:
    work = SignUp(then=lambda: asyncio.sleep(100))
    async with asyncio.timeout(60):
        with pytest.raises(Busy):
            await Transact(begin, clock, deadline=SOON)(work)
    assert not await exists(store, work.user)


async def test_a_time_out_of_the_work_itself_is_not_the_deadline(transact: Transact) -> None:
    work = SignUp(then=failing(TimeoutError("of something else")))
    with pytest.raises(TimeoutError, match="of something else"):
        await transact(work)
    assert work.runs == 1


@pytest.mark.parametrize("error", [Unavailable("down"), Busy("full"), OutcomeUnknown()])
async def test_what_another_attempt_would_not_mend_is_raised_at_once(
    error: Exception, begin: Begin, clock: SetClock
) -> None:
    work = SignUp()
    with pytest.raises(type(error)):
        await Transact(committing(begin, before=failing(error)), clock)(work)
    assert work.runs == 1


async def test_an_unknown_outcome_is_not_tried_again_without_a_key(begin: Begin, clock: SetClock, store: Store) -> None:
    """It may have taken effect, as it did here: a second attempt might repeat it."""
    work = SignUp()
    with pytest.raises(OutcomeUnknown):
        await Transact(committing(begin, after=failing(OutcomeUnknown())), clock)(work)
    assert work.runs == 1
    assert await exists(store, work.user)


# Cancellation


async def test_cancelled_work_is_undone(transact: Transact, store: Store) -> None:
    working = asyncio.Event()

    async def stay() -> None:
        working.set()
        await asyncio.sleep(100)

    work = SignUp(then=stay)
    task = asyncio.create_task(transact(work))
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await exists(store, work.user)


@pytest.fixture
def slow_commit(begin: Begin, clock: SetClock) -> tuple[Transact, asyncio.Event, asyncio.Event]:
    """A boundary whose commit says when it has begun and goes on when it is let."""
    begun, let = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await let.wait()

    return Transact(committing(begin, before=wait), clock), begun, let


async def test_a_commit_is_not_cut_in_half(
    slow_commit: tuple[Transact, asyncio.Event, asyncio.Event], store: Store
) -> None:
    transact, begun, let = slow_commit
    work = SignUp()
    task = asyncio.create_task(transact(work))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    let.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await exists(store, work.user)


async def test_a_commit_that_hangs_is_given_up(
    slow_commit: tuple[Transact, asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr(boundary, "COMMIT_GRACE_SECONDS", SOON)
    transact, begun, let = slow_commit
    work = SignUp()
    task = asyncio.create_task(transact(work))
    await begun.wait()
    task.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task
    let.set()
    await asyncio.sleep(SOON)
    assert not await exists(store, work.user)


async def test_a_second_cancellation_does_not_cut_a_commit_in_half(
    slow_commit: tuple[Transact, asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    """The deadline of the request and that of the boundary end at nearly the same time."""
    monkeypatch.setattr(boundary, "COMMIT_GRACE_SECONDS", 60)
    transact, begun, let = slow_commit
    work = SignUp()
    task = asyncio.create_task(transact(work))
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    let.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await exists(store, work.user)


async def test_a_commit_that_hangs_is_given_up_in_time_however_often_it_is_cancelled(
    slow_commit: tuple[Transact, asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr(boundary, "COMMIT_GRACE_SECONDS", 5 * SOON)
    transact, begun, let = slow_commit
    work = SignUp()
    task = asyncio.create_task(transact(work))
    await begun.wait()
    async with asyncio.timeout(60):
        while not task.done():
            task.cancel()
            await asyncio.sleep(SOON)
    assert task.cancelled()
    let.set()
    await asyncio.sleep(SOON)
    assert not await exists(store, work.user)


async def test_the_deadline_does_not_cut_a_commit_in_half(
    begin: Begin, clock: SetClock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "COMMIT_GRACE_SECONDS", 60)
    deadline = 1.0  # long enough for the commit to begin on a busy machine

    async def outlast_the_deadline() -> None:
        await asyncio.sleep(1.5 * deadline)

    work = SignUp()
    with pytest.raises(Busy):
        await Transact(committing(begin, before=outlast_the_deadline), clock, deadline=deadline)(work)
    assert await exists(store, work.user)


async def test_only_the_first_unit_of_work_is_optimistic(begin: Begin, clock: SetClock) -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def noted(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        seen.append(optimistic)
        async with begin(optimistic=optimistic) as uow:
            yield uow

    await Transact(noted, clock)(SignUp(then=failing(TryAgain(), TryAgain())))
    assert seen == [True, False, False]


# With a key


async def test_the_answer_that_is_sent_is_the_one_that_is_kept(transact: Transact, key: KeyId) -> None:
    first = IdempotentRequest(key, b"request", render=lambda user: new_id().bytes)  # never the same again
    with idempotent(first):
        await transact(SignUp())
    assert first.answer is not None

    with idempotent(once(key)), pytest.raises(Replay) as replay:
        await transact(SignUp())
    assert replay.value.answer == first.answer


async def test_an_empty_answer_is_an_answer(transact: Transact, key: KeyId) -> None:
    with idempotent(once(key, answer=b"")):
        await transact(SignUp())
    with idempotent(once(key)), pytest.raises(Replay) as replay:
        await transact(SignUp())
    assert replay.value.answer == b""


async def test_a_replay_does_not_work_again(transact: Transact, key: KeyId, store: Store) -> None:
    with idempotent(once(key)):
        await transact(SignUp())
    work = SignUp()
    with idempotent(once(key)), pytest.raises(Replay):
        await transact(work)
    assert work.runs == 0
    assert not await exists(store, work.user)


async def test_a_key_of_another_request_is_refused(transact: Transact, key: KeyId) -> None:
    with idempotent(once(key, b"one request")):
        await transact(SignUp())
    work = SignUp()
    with idempotent(once(key, b"another")), pytest.raises(KeyReused):
        await transact(work)
    assert work.runs == 0


@pytest.mark.parametrize("other", [{"key": "other"}, {"operation": "POST /items"}, {"caller": a_user().id}])
async def test_keys_are_told_apart_by_caller_and_operation(
    other: dict[str, Any], transact: Transact, key: KeyId, store: Store
) -> None:
    with idempotent(once(key)):
        await transact(SignUp())
    work = SignUp()
    with idempotent(once(replace(key, **other))):
        await transact(work)
    assert await exists(store, work.user)


async def test_a_key_holds_for_a_day(transact: Transact, key: KeyId, clock: SetClock) -> None:
    with idempotent(once(key)):
        await transact(SignUp())

    clock.time += KEY_LIFETIME - timedelta(milliseconds=1)
    with idempotent(once(key)), pytest.raises(Replay):
        await transact(SignUp())

    clock.time += timedelta(milliseconds=1)
    with idempotent(once(key, b"another request", b"new answer")):
        await transact(SignUp())
    with idempotent(once(key, b"another request")), pytest.raises(Replay) as replay:
        await transact(SignUp())
    assert replay.value.answer == b"new answer"


async def test_a_refusal_leaves_the_key_unused(transact: Transact, key: KeyId, store: Store) -> None:
    with idempotent(once(key)), pytest.raises(Conflict):
        await transact(SignUp(then=failing(Conflict("no", "no"))))
    work = SignUp()
    with idempotent(once(key, b"another request")):
        await transact(work)
    assert await exists(store, work.user)


async def test_an_answer_that_cannot_be_rendered_undoes_the_work(transact: Transact, key: KeyId, store: Store) -> None:
    def fail(result: User) -> bytes:
        raise ValueError("cannot be rendered")

    work = SignUp()
    with idempotent(IdempotentRequest(key, b"request", fail)), pytest.raises(ValueError, match="cannot be rendered"):
        await transact(work)
    assert not await exists(store, work.user)


async def test_conflicts_are_tried_again_under_a_key(transact: Transact, key: KeyId, store: Store) -> None:
    work = SignUp(then=failing(TryAgain(), TryAgain()))
    with idempotent(once(key)):
        await transact(work)
    assert work.runs == 3
    assert await exists(store, work.user)


async def test_an_unknown_outcome_that_took_effect_is_replayed(begin: Begin, clock: SetClock, key: KeyId) -> None:
    work = SignUp()
    wish = once(key)
    with idempotent(wish), pytest.raises(Replay) as replay:
        await Transact(committing(begin, after=failing(OutcomeUnknown())), clock)(work)
    assert replay.value.answer == wish.answer == b"answer"
    assert work.runs == 1


async def test_an_unknown_outcome_that_took_no_effect_is_tried_again(
    begin: Begin, clock: SetClock, key: KeyId, store: Store
) -> None:
    work = SignUp()
    with idempotent(once(key)):
        await Transact(committing(begin, before=failing(OutcomeUnknown())), clock)(work)
    assert work.runs == 2
    assert await exists(store, work.user)


async def test_work_outside_of_a_wish_has_no_key(transact: Transact, key: KeyId) -> None:
    with idempotent(once(key)):
        await transact(SignUp())
    work = SignUp()
    await transact(work)
    assert work.runs == 1


async def test_wishes_of_concurrent_tasks_are_not_mixed_up(transact: Transact) -> None:
    async def one(number: int) -> IdempotentRequest:
        wish = once(a_key(key=f"key {number}"), answer=b"%d" % number)
        with idempotent(wish):
            await transact(SignUp(then=lambda: asyncio.sleep(0)))
        return wish

    wishes = await asyncio.gather(*(one(number) for number in range(10)))
    assert [wish.answer for wish in wishes] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_an_error_of_a_commit_after_the_cancellation_is_not_logged(
    cancellations: int, begin: Begin, clock: SetClock
) -> None:
    begun, logged = asyncio.Event(), list[object]()

    async def fail_later() -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(SOON)
        raise TryAgain

    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    try:
        running = asyncio.create_task(Transact(committing(begin, before=fail_later), clock)(SignUp()))
        await begun.wait()
        for _ in range(cancellations):
            running.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({running})
        await asyncio.sleep(2 * SOON)
        del running
        gc.collect()
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert logged == []


# Copies of one key


async def test_copies_go_to_the_store_one_at_a_time(begin: Begin, clock: SetClock, key: KeyId) -> None:
    """Ten that wait there would hold ten connections."""
    open_units = most = 0

    @asynccontextmanager
    async def counted(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        nonlocal open_units, most
        open_units += 1
        most = max(most, open_units)
        try:
            async with begin(optimistic=optimistic) as uow:
                yield uow
        finally:
            open_units -= 1

    transact = Transact(counted, clock)
    work = SignUp(then=lambda: asyncio.sleep(SOON))

    async def copy() -> bytes:
        with idempotent(once(key)):
            try:
                await transact(work)
            except Replay as replay:
                return replay.answer
        return b"first"

    answers = await asyncio.gather(*(copy() for _ in range(10)))
    assert sorted(answers) == [b"answer"] * 9 + [b"first"]
    assert work.runs == 1
    assert most == 1


async def test_other_keys_do_not_wait(transact: Transact, key: KeyId) -> None:
    working, end = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        working.set()
        await end.wait()

    with idempotent(once(key)):
        first = asyncio.create_task(transact(SignUp(then=stay)))
    await working.wait()
    async with asyncio.timeout(60):
        with idempotent(once(a_key())):
            await transact(SignUp())
        end.set()
        await first


async def occupied(transact: Transact, key: KeyId) -> asyncio.Task[User]:
    """The key's first copy, which will not end of itself."""
    working = asyncio.Event()

    async def stay() -> None:
        working.set()
        await asyncio.sleep(100)

    with idempotent(once(key)):
        first = asyncio.create_task(transact(SignUp(then=stay)))
    await working.wait()
    return first


async def cancelled(task: asyncio.Task[User]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("impatient")
async def test_a_copy_waits_for_the_first_only_so_long(transact: Transact, key: KeyId) -> None:
    first = await occupied(transact, key)
    async with asyncio.timeout(60):
        with idempotent(once(key)), pytest.raises(RequestInProgress):
            await transact(SignUp())
    await cancelled(first)


@pytest.mark.usefixtures("impatient")
async def test_a_copy_in_another_process_waits_only_so_long(begin: Begin, clock: SetClock, key: KeyId) -> None:
    first = await occupied(Transact(begin, clock), key)
    async with asyncio.timeout(60):
        with idempotent(once(key)), pytest.raises(RequestInProgress):
            await Transact(begin, clock)(SignUp())
    await cancelled(first)


async def test_a_copy_that_waits_has_the_same_deadline(begin: Begin, clock: SetClock, key: KeyId) -> None:
    transact = Transact(begin, clock, deadline=60)
    first = await occupied(transact, key)
    async with asyncio.timeout(60):
        with idempotent(once(key)), pytest.raises(Busy):
            await Transact(begin, clock, deadline=SOON, key_locks=transact.key_locks)(SignUp())
    await cancelled(first)


async def test_a_copy_in_another_process_gets_the_answer(begin: Begin, clock: SetClock, key: KeyId) -> None:
    with idempotent(once(key)):
        first = asyncio.create_task(Transact(begin, clock)(SignUp(then=lambda: asyncio.sleep(SOON))))
        await asyncio.sleep(0)
        with pytest.raises(Replay) as replay:
            await Transact(begin, clock)(SignUp())
        await first
    assert replay.value.answer == b"answer"


@pytest.mark.parametrize("end", ["refused", "cancelled"])
async def test_the_next_copy_goes_on_when_the_first_fails(end: str, transact: Transact, key: KeyId) -> None:
    working, let = asyncio.Event(), asyncio.Event()

    async def refuse() -> None:
        working.set()
        await let.wait()
        raise Conflict("no", "no")

    with idempotent(once(key)):
        first = asyncio.create_task(transact(SignUp(then=refuse)))
        await working.wait()
        second = asyncio.create_task(transact(SignUp()))
        await asyncio.sleep(SOON)
        assert not second.done()
        if end == "cancelled":
            await cancelled(first)
        else:
            let.set()
            with pytest.raises(Conflict):
                await first
        async with asyncio.timeout(60):
            await second


async def test_a_waiting_copy_that_is_cancelled_does_not_free_the_key(transact: Transact, key: KeyId) -> None:
    first = await occupied(transact, key)
    with idempotent(once(key)):
        second, third = (asyncio.create_task(transact(SignUp())) for _ in range(2))
    await asyncio.sleep(0)
    await cancelled(second)
    await asyncio.sleep(SOON)
    assert not third.done()
    await cancelled(first)
    async with asyncio.timeout(60):
        await third


async def test_nothing_is_remembered_of_keys_that_have_ended(transact: Transact) -> None:
    for then in (nothing, failing(Conflict("no", "no")), failing(TryAgain())):
        with idempotent(once(a_key())):
            await asyncio.gather(transact(SignUp(then=then)), return_exceptions=True)
    assert not transact.key_locks.locks
