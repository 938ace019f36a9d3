"""The system clock is set back by an hour, or forward by a day and back again."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from application.idempotency import KEY_LIFETIME, IdempotentRequest, Replay, idempotent
from application.ports import Begin, Ids
from application.store import Store
from application.streaming import StoredKey
from application.transact import Transact
from application.use_cases import purge
from application.use_cases.items import CreateItem
from application.use_cases.passwords import VerifyPassword, hash_subject
from application.use_cases.purge import LEASE, PurgeExpired, PurgeInTurn
from application.use_cases.sessions import RefreshSession, SignIn
from application.use_cases.users import CreateUser
from domain.errors import Unauthenticated
from domain.session import TooManyAttempts
from domain.user import User
from interfaces.testing.builders import a_key, new_id
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens

LIMIT = 3
WINDOW = timedelta(minutes=15)
INTERVAL = timedelta(minutes=5)


@pytest.fixture
def create_user(transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock) -> CreateUser:
    return CreateUser(transact, passwords, ids, clock, max_per_address=LIMIT)


@pytest.fixture
async def ada(create_user: CreateUser) -> User:
    return await create_user(email="ada@example.org", username="ada", password="correct horse")


@pytest.fixture
def sign_in(transact: Transact, store: Store, passwords: FakePasswords, ids: Ids, clock: SetClock, ada: User) -> SignIn:
    verify, lifetime = VerifyPassword(transact, passwords, clock, LIMIT, LIMIT), timedelta(days=30)
    return SignIn(
        transact, store.users, verify, passwords, FakeTokens(), lambda: new_id().hex, ids, clock, lifetime=lifetime
    )


async def try_to_sign_in(sign_in: SignIn, password: str = "correct horse") -> object:
    return await sign_in(login="ada", password=password, address="::1")


async def test_failures_in_the_future_lock_out_for_one_window(sign_in: SignIn, clock: SetClock) -> None:
    for _ in range(LIMIT):
        with pytest.raises(Unauthenticated):
            await try_to_sign_in(sign_in, "wrong")
    clock.move(hours=-1)
    for minutes_left in (15, 10, 5):
        with pytest.raises(TooManyAttempts) as refusal:
            await try_to_sign_in(sign_in)
        assert refusal.value.retry_after == timedelta(minutes=minutes_left)
        clock.move(minutes=5)
    await try_to_sign_in(sign_in)


async def test_attempts_that_were_interrupted_in_the_future_lock_out_for_one_window(
    sign_in: SignIn, clock: SetClock, begin: Begin, ada: User
) -> None:
    async with begin() as uow:
        [attempts] = await uow.attempts.get_for_update(hash_subject(f"account {ada.id}"))
        assert all(attempts.admit(clock(), LIMIT) for _ in range(LIMIT))
        await uow.attempts.save(attempts)
        await uow.commit()
    clock.move(hours=-1)
    with pytest.raises(TooManyAttempts) as refusal:
        await try_to_sign_in(sign_in)
    assert refusal.value.retry_after == WINDOW
    clock.time += WINDOW
    await try_to_sign_in(sign_in)


async def test_sign_ups_in_the_future_count_for_one_window(create_user: CreateUser, clock: SetClock) -> None:
    async def sign_up(number: int) -> None:
        email = f"user{number}@example.org"
        await create_user(email=email, username=f"user{number}", password="correct horse", address="::1")

    for number in range(LIMIT):
        await sign_up(number)
    clock.move(hours=-1)
    with pytest.raises(TooManyAttempts) as refusal:
        await sign_up(LIMIT)
    assert refusal.value.retry_after == WINDOW
    clock.time += WINDOW
    await sign_up(LIMIT)


async def test_a_session_goes_on(sign_in: SignIn, transact: Transact, clock: SetClock) -> None:
    refresh = RefreshSession(transact, FakeTokens(), lambda: new_id().hex, clock)
    tokens = await sign_in(login="ada", password="correct horse", address="::1")
    for move in ({"hours": -1}, {"days": 1}, {"days": -1}):
        clock.move(**move)
        tokens = await refresh(refresh_token=tokens.refresh_token)
    clock.move(days=30, hours=1)
    with pytest.raises(Unauthenticated):
        await refresh(refresh_token=tokens.refresh_token)


async def test_a_key_is_known_until_it_expires(transact: Transact, ids: Ids, clock: SetClock, ada: User) -> None:
    key, create = a_key(caller=ada.id), CreateItem(transact, ids, clock)

    async def create_item() -> None:
        with idempotent(IdempotentRequest(key, b"", lambda _: b"answer")):
            await create(by=ada.id, name="Lamp", description=None, price=Decimal(1))

    await create_item()
    clock.move(hours=-1)
    with pytest.raises(Replay):
        await create_item()
    clock.time += KEY_LIFETIME
    with pytest.raises(Replay):
        await create_item()
    clock.move(hours=1)
    await create_item()


@pytest.fixture
def worker(store: Store, transact: Transact, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> PurgeInTurn:
    monkeypatch.setattr(purge, "PAUSE", 0)
    return PurgeInTurn(transact, PurgeExpired(store, clock), clock, INTERVAL)


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=1)])
async def test_the_purge_goes_on(back: timedelta, worker: PurgeInTurn, store: Store, clock: SetClock) -> None:
    await worker()
    clock.time -= back
    expired = StoredKey(id=a_key(), fingerprint=b"", expires_at=clock(), answer=b"answer")
    await store.stream.write([expired])
    assert await worker() == Counter(keys=1)
    clock.time += back + INTERVAL
    await store.stream.write([expired])
    assert await worker() == Counter(keys=1)
    assert await worker() is None


async def test_a_lease_that_a_former_version_has_taken_is_respected(
    worker: PurgeInTurn, store: Store, clock: SetClock
) -> None:
    lease = StoredKey(id=LEASE, fingerprint=b"", expires_at=clock() + INTERVAL, answer=b"")
    expired = StoredKey(id=a_key(), fingerprint=b"", expires_at=clock(), answer=b"answer")
    await store.stream.write([lease, expired])
    assert await worker() is None


@pytest.mark.parametrize(("ahead", "is_respected"), [(INTERVAL / 2, True), (INTERVAL * 0.6, False)])
async def test_a_lease_from_a_clock_that_is_a_little_ahead_is_respected(
    ahead: timedelta, is_respected: bool, worker: PurgeInTurn, store: Store, clock: SetClock
) -> None:
    clock.time += ahead
    await worker()
    clock.time -= ahead
    await store.stream.write([StoredKey(id=a_key(), fingerprint=b"", expires_at=clock(), answer=b"answer")])
    assert (await worker() is None) is is_respected
