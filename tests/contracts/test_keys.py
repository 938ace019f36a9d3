"""A request with an idempotency key takes effect once, and its answer is stored in the same transaction."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from application.errors import KeyReused, RequestInProgress, TryAgain
from application.idempotency import KEY_LIFETIME, IdempotentRequest, Replay, idempotent
from application.paging import Window
from application.ports import Begin, Ids, KeyId, UnitOfWork
from application.readers import OwnedItem
from application.store import Store
from application.transact import Transact
from application.use_cases.items import CreateItem, TransferItem
from domain.item import Item
from domain.user import User, UserId
from interfaces.certification import another_process
from interfaces.certification.database import Database
from interfaces.certification.overlapping import COMMITTED, LIMIT, Meanwhile, attempt, overlap
from interfaces.testing.builders import NOON, a_key, a_user, new_id
from interfaces.testing.clock_and_ids import SetClock

NOW, DAY = timedelta(), timedelta(hours=24)


async def claim(
    uow: UnitOfWork, key: KeyId, fingerprint: bytes = b"request", *, after: timedelta = NOW, max_wait: float = 5
) -> bytes | None:
    return await uow.keys.claim(key, fingerprint, at=NOON + after, lifetime=DAY, max_wait=max_wait)


async def use(
    uow: UnitOfWork, key: KeyId, fingerprint: bytes = b"request", answer: bytes = b"answer", after: timedelta = NOW
) -> None:
    assert await claim(uow, key, fingerprint, after=after) is None
    await uow.keys.save_answer(key, answer)


@pytest.mark.parametrize("answer", [b"", b"\x00\xff\xfe binary", "Zoë 💡".encode(), b"x" * 100_000], ids=len)
async def test_the_answer_comes_back_as_it_was(answer: bytes, begin: Begin) -> None:
    key = a_key()
    assert await attempt(begin, lambda uow: use(uow, key, answer=answer)) == COMMITTED
    async with begin() as uow:
        kept = await claim(uow, key)
    assert kept == answer
    assert type(kept) is bytes


@pytest.mark.parametrize(
    "fields",
    [{"key": "x" * 255}, {"key": " !\"$'\\%_.{}~"}, {"key": "a"}, {"operation": "POST /a/{b}/c" * 10}],
    ids=lambda fields: str(fields)[:40],
)
async def test_any_key_can_be_claimed(fields: dict[str, str], begin: Begin) -> None:
    key = a_key(**fields)
    assert await attempt(begin, lambda uow: use(uow, key)) == COMMITTED
    async with begin() as uow:
        assert await claim(uow, key) == b"answer"


@pytest.mark.parametrize(
    "other",
    [{"key": "A KEY"}, {"key": "a key "}, {"operation": "POST /items"}, {"caller": UserId(UUID(int=7))}],
    ids=str,
)
async def test_keys_are_told_apart(other: dict[str, object], begin: Begin) -> None:
    caller = UserId(new_id())
    assert await attempt(begin, lambda uow: use(uow, a_key(caller=caller, key="a key"))) == COMMITTED
    assert await attempt(begin, lambda uow: use(uow, a_key(**{"caller": caller, "key": "a key"} | other))) == COMMITTED


async def test_a_key_of_another_request_is_refused(begin: Begin) -> None:
    key = a_key()
    assert await attempt(begin, lambda uow: use(uow, key, b"\x00one")) == COMMITTED
    async with begin() as uow:
        with pytest.raises(KeyReused):
            await claim(uow, key, b"\x00other")


async def test_a_key_whose_unit_was_not_committed_is_free(begin: Begin) -> None:
    key = a_key()
    async with begin() as uow:
        await claim(uow, key)
        await uow.keys.save_answer(key, b"lost")
    assert await attempt(begin, lambda uow: use(uow, key, b"another request")) == COMMITTED


async def test_a_key_whose_unit_failed_is_free(begin: Begin) -> None:
    key = a_key()

    async def fail(uow: UnitOfWork) -> None:
        await claim(uow, key)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await attempt(begin, fail)
    assert await attempt(begin, lambda uow: use(uow, key, b"another request")) == COMMITTED


async def test_a_key_holds_for_its_lifetime(begin: Begin) -> None:
    key = a_key()
    assert await attempt(begin, lambda uow: use(uow, key)) == COMMITTED
    async with begin() as uow:
        assert await claim(uow, key, after=DAY - timedelta(milliseconds=1)) == b"answer"
    replacement = await attempt(begin, lambda uow: use(uow, key, b"another request", b"new answer", after=DAY))
    assert replacement == COMMITTED
    async with begin() as uow:
        assert await claim(uow, key, b"another request", after=2 * DAY - timedelta(milliseconds=1)) == b"new answer"


async def test_an_expired_key_stays_if_its_replacement_is_not_committed(begin: Begin) -> None:
    key = a_key()
    assert await attempt(begin, lambda uow: use(uow, key)) == COMMITTED
    async with begin() as uow:
        assert await claim(uow, key, after=DAY) is None
        await uow.keys.save_answer(key, b"lost")
    async with begin() as uow:
        assert await claim(uow, key) == b"answer"


async def test_an_expired_key_is_replaced_by_one_of_many(begin: Begin) -> None:
    key = a_key()
    assert await attempt(begin, lambda uow: use(uow, key)) == COMMITTED

    async def replace(number: int) -> bytes | None:
        while True:
            try:
                async with begin() as uow:
                    answer = await claim(uow, key, after=DAY)
                    if answer is None:
                        await uow.keys.save_answer(key, b"%d" % number)
                        await uow.commit()
                    return answer
            except TryAgain:
                await asyncio.sleep(0.01)

    async with asyncio.timeout(LIMIT):
        answers = await asyncio.gather(*(replace(number) for number in range(8)))
    assert answers.count(None) == 1
    assert set(answers) == {None, b"%d" % answers.index(None)}


async def test_a_claimed_key_is_nobody_else_s(begin: Begin) -> None:
    """The other waits for the first to end and gets its answer, or is told that it is in flight."""
    key = a_key()
    claimed: list[bytes | None] = []

    async def first(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        assert await claim(uow, key) is None
        await meanwhile()
        await uow.keys.save_answer(key, b"answer")

    async def second(uow: UnitOfWork) -> None:
        claimed.append(await claim(uow, key))

    ended = await overlap(begin, first, second)
    assert ended.first == COMMITTED
    assert claimed in ([], [b"answer"])


async def test_patience_ends(begin: Begin) -> None:
    key = a_key()
    waited: list[float] = []

    async def first(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await claim(uow, key)
        await meanwhile()
        await asyncio.sleep(1.5)
        await uow.keys.save_answer(key, b"answer")

    async def second(uow: UnitOfWork) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            assert await claim(uow, key, max_wait=0.05) == b"answer"  # where units of work begin one after another
        finally:
            waited.append(clock() - started)

    await overlap(begin, first, second)
    assert max(waited) < 1.5


# Under the transaction boundary


def once(key: KeyId, answer: bytes = b"answer") -> IdempotentRequest:
    return IdempotentRequest(key, b"request", render=lambda result: answer)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a copy wait for the first for as long as it takes, on a busy machine, too."""
    monkeypatch.setattr("application.transact.KEY_WAIT_SECONDS", LIMIT)


@pytest.mark.usefixtures("patient")
async def test_copies_of_a_request_have_one_effect(
    ada: User, grace: User, lamp: Item, begin: Begin, store: Store, clock: SetClock, ids: Ids
) -> None:
    """Each as in a process of its own."""
    key = a_key(caller=ada.id)

    async def copy(number: int) -> bytes:
        transfer_item = TransferItem(Transact(begin, clock, deadline=LIMIT), ids, clock)
        wish = once(key, b"%d" % number)
        with idempotent(wish):
            try:
                await transfer_item(lamp.id, by=ada.id, to=grace.id)
            except Replay as replay:
                return replay.answer
        assert wish.answer is not None
        return wish.answer

    async with asyncio.timeout(LIMIT):
        answers = await asyncio.gather(*(copy(number) for number in range(20)))

    assert len(set(answers)) == 1
    assert (await store.items.get(lamp.id)).item.version == 2
    assert len((await store.transfers.page(lamp.id, Window())).items) == 1


@pytest.mark.usefixtures("patient")
async def test_copies_of_a_request_create_one_thing(ada: User, begin: Begin, clock: SetClock, ids: Ids) -> None:
    """Nothing but the key is in their way."""
    key = a_key(caller=ada.id)

    async def copy() -> Replay | OwnedItem:
        create_item = CreateItem(Transact(begin, clock, deadline=LIMIT), ids, clock)
        with idempotent(once(key)):
            try:
                return await create_item(by=ada.id, name="Lamp", description=None, price=Decimal(1))
            except Replay as replay:
                return replay

    async with asyncio.timeout(LIMIT):
        results = await asyncio.gather(*(copy() for _ in range(20)))

    assert [type(result) for result in results].count(OwnedItem) == 1


async def test_an_answer_is_the_same_after_the_item_has_moved_on(
    ada: User, grace: User, lamp: Item, transfer_item: TransferItem, store: Store
) -> None:
    key = a_key(caller=ada.id)
    with idempotent(IdempotentRequest(key, b"request", render=lambda owned: str(owned.item.version).encode())):
        await transfer_item(lamp.id, by=ada.id, to=grace.id)
    await transfer_item(lamp.id, by=grace.id, to=ada.id)

    with idempotent(once(key)), pytest.raises(Replay) as replay:
        await transfer_item(lamp.id, by=ada.id, to=grace.id)

    assert replay.value.answer == b"2"
    assert (await store.items.get(lamp.id)).item.version == 3


async def test_a_refused_request_leaves_its_key_free(
    ada: User, grace: User, lamp: Item, transfer_item: TransferItem, begin: Begin
) -> None:
    key = a_key(caller=grace.id)
    with idempotent(once(key)), pytest.raises(Exception, match="owner"):
        await transfer_item(lamp.id, by=grace.id, to=ada.id)
    async with begin() as uow:
        assert await claim(uow, key, b"another request") is None


async def test_a_key_is_free_after_an_expired_one_was_used_for_a_refusal(
    ada: User, grace: User, lamp: Item, transfer_item: TransferItem, begin: Begin, clock: SetClock
) -> None:
    key = a_key(caller=grace.id)
    assert await attempt(begin, lambda uow: use(uow, key)) == COMMITTED
    clock.time += KEY_LIFETIME
    with idempotent(once(key)), pytest.raises(Exception, match="owner"):
        await transfer_item(lamp.id, by=grace.id, to=ada.id)
    async with begin() as uow:
        assert await claim(uow, key, b"another request", after=DAY) is None


async def test_a_request_that_takes_too_long_lets_its_copies_know(
    begin: Begin, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or makes them wait where units of work begin one after another, or goes second where nothing is locked."""
    monkeypatch.setattr("application.transact.KEY_WAIT_SECONDS", 0.1)
    key, claimed, end = a_key(), asyncio.Event(), asyncio.Event()

    async def stay(uow: UnitOfWork) -> None:
        claimed.set()
        await end.wait()

    async def nothing(uow: UnitOfWork) -> None: ...

    with idempotent(once(key)):
        async with asyncio.timeout(LIMIT):
            first = asyncio.create_task(Transact(begin, clock)(stay))
            await claimed.wait()
            asyncio.get_running_loop().call_later(1, end.set)
            try:
                await Transact(begin, clock)(nothing)
            except Replay:
                assert first.done()
            except RequestInProgress:
                assert not first.done()
            else:
                end.set()
                with pytest.raises(Replay):
                    await first
                return
            end.set()
            await first


# Crashes


@pytest.mark.capability("seconds_to_release_locks")
async def test_a_crash_before_the_commit_frees_the_key(database: Database, clock: SetClock) -> None:
    key = KeyId(UserId(new_id()), another_process.OPERATION, "a key")
    begin = database.store.begin
    if database.store.capabilities.processes == "one":
        await cancelled_with(begin, key)
    else:
        await killed_with(database, key)

    async def sign_up(uow: UnitOfWork) -> None:
        await uow.users.add(a_user(email=another_process.EMAIL))

    async with asyncio.timeout(LIMIT + (database.store.capabilities.seconds_to_release_locks or 0)):
        while True:
            try:
                with idempotent(once(key)):
                    await Transact(begin, clock)(sign_up)
                break
            except RequestInProgress:
                pass
    async with begin() as uow:
        assert await claim(uow, key) == b"answer"


async def killed_with(database: Database, key: KeyId) -> None:
    async with another_process.started(database.settings, "claim", key.key, str(key.caller)) as process:
        assert await another_process.says(process) == "claimed"


async def cancelled_with(begin: Begin, key: KeyId) -> None:
    claimed = asyncio.Event()

    async def stay() -> None:
        async with begin() as uow:
            await claim(uow, key)
            await uow.keys.save_answer(key, b"never seen")
            claimed.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await claimed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
