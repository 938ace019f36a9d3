import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from application.ports import Begin, Ids
from application.store import Store
from application.transact import Transact
from application.use_cases.passwords import VerifyPassword
from application.use_cases.users import CreateUser, ReadAccount
from domain.errors import Conflict, DomainError, Invalid, Unauthenticated
from domain.session import TooManyAttempts
from domain.user import User, UserId
from interfaces.testing.builders import NOON, a_user, new_id
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords


@pytest.fixture
def create_user(transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock) -> CreateUser:
    return CreateUser(transact, passwords, ids, clock)


@pytest.fixture
def read_account(store: Store) -> ReadAccount:
    return ReadAccount(store.users)


async def test_who_signs_up_has_an_account(create_user: CreateUser, read_account: ReadAccount) -> None:
    user = await create_user(email="Ada@Example.org", username="Ada", password="correct horse")
    assert (user.email, user.username, user.created_at, user.is_active) == ("ada@example.org", "ada", NOON, True)
    assert user.password_hash == "hash of correct horse"
    assert await read_account(user.id) == user


@pytest.mark.parametrize(
    ("email", "username", "code"),
    [("ADA@example.org", "other", "email-taken"), ("other@example.org", "aDA", "username-taken")],
)
async def test_names_are_given_once(email: str, username: str, code: str, create_user: CreateUser) -> None:
    await create_user(email="ada@example.org", username="ada", password="correct horse")
    with pytest.raises(Conflict) as refusal:
        await create_user(email=email, username=username, password="battery staple")
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"email": "ada"}, "email"), ({"username": "a b"}, "username"), ({"password": "short"}, "password")],
)
async def test_a_faulty_sign_up_names_the_field_to_blame_and_costs_no_hash(
    fields: dict[str, str],
    field: str,
    create_user: CreateUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(FakePasswords, "hash", hashed.append)
    with pytest.raises(Invalid) as refusal:
        await create_user(**{"email": "ada@example.org", "username": "ada", "password": "correct horse"} | fields)
    assert refusal.value.field == field
    assert not hashed


async def test_an_account_is_read_only_while_it_is_active(
    create_user: CreateUser, read_account: ReadAccount, begin: Begin
) -> None:
    user = await create_user(email="ada@example.org", username="ada", password="correct horse")
    async with begin() as uow:
        user = await uow.users.get_for_update(user.id)
        user.deactivate()
        await uow.users.save(user)
        await uow.commit()
    with pytest.raises(Unauthenticated):
        await read_account(user.id)


async def test_no_account_is_no_different_from_an_inactive_one(read_account: ReadAccount, begin: Begin) -> None:
    inactive = a_user(is_active=False)
    async with begin() as uow:
        await uow.users.add(inactive)
        await uow.commit()
    refusals: list[DomainError] = []
    for user_id in (inactive.id, UserId(new_id())):
        with pytest.raises(Unauthenticated) as refusal:
            await read_account(user_id)
        refusals.append(refusal.value)
    assert refusals[0].args == refusals[1].args


# Sign-ups from one address


@pytest.fixture
def limited(create_user: CreateUser) -> CreateUser:
    return replace(create_user, max_per_address=3)


async def sign_up(create: CreateUser, number: int, address: str | None, email: str = "") -> User:
    email = email or f"user{number}@example.org"
    return await create(email=email, username=f"user{number}", password="correct horse", address=address)


async def test_sign_ups_from_one_address_are_limited(limited: CreateUser, clock: SetClock) -> None:
    for number in range(3):
        await sign_up(limited, number, "192.0.2.1")
        clock.move(minutes=1)
    with pytest.raises(TooManyAttempts) as refusal:
        await sign_up(limited, 3, "192.0.2.1")
    assert refusal.value.retry_after == timedelta(minutes=12)
    await sign_up(limited, 4, "192.0.2.2")
    await sign_up(limited, 5, None)
    clock.move(minutes=12)
    await sign_up(limited, 3, "192.0.2.1")


async def test_the_hash_of_a_sign_up_beyond_the_limit_is_not_made(
    limited: CreateUser, passwords: FakePasswords
) -> None:
    for number in range(3):
        await sign_up(limited, number, "2001:db8::1")
    passwords.hashing_busy = True  # so that hashing raises Busy
    with pytest.raises(TooManyAttempts):
        await sign_up(limited, 3, "2001:db8::2")  # of the same network


async def test_a_sign_up_that_is_refused_counts_if_it_was_hashed(limited: CreateUser) -> None:
    await sign_up(limited, 0, "192.0.2.1", "ada@example.org")
    for number in range(2):
        with pytest.raises(Invalid):
            await sign_up(limited, 1, "192.0.2.1", "no address")
        with pytest.raises(Conflict):
            await sign_up(limited, number + 1, "192.0.2.1", "ada@example.org")
    with pytest.raises(TooManyAttempts):
        await sign_up(limited, 3, "192.0.2.1")


async def test_sign_ups_at_once_are_all_counted(limited: CreateUser) -> None:
    results = await asyncio.gather(*(sign_up(limited, n, "192.0.2.1") for n in range(10)), return_exceptions=True)
    assert sum(isinstance(result, User) for result in results) == 3
    assert sum(isinstance(result, TooManyAttempts) for result in results) == 7


async def test_a_sign_up_that_was_not_hashed_does_not_count(limited: CreateUser) -> None:
    for _ in range(4):
        with pytest.raises(Invalid):
            await limited(email="a@example.org", username="user", password="password1", address="192.0.2.1")
    await sign_up(limited, 0, "192.0.2.1")


async def test_sign_ups_and_failed_log_ins_are_counted_apart(
    limited: CreateUser, transact: Transact, passwords: FakePasswords, clock: SetClock
) -> None:
    for number in range(3):
        await sign_up(limited, number, "192.0.2.1")
    verify = VerifyPassword(transact, passwords, clock, max_failures_per_account=3, max_failures_per_address=3)
    assert not (await verify(None, "nobody", "wrong", "192.0.2.1")).is_correct
