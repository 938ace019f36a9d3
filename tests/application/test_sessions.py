import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from application.errors import Busy
from application.ports import Begin, Ids, UnitOfWork
from application.store import Store
from application.transact import Transact
from application.use_cases.passwords import VerifyPassword
from application.use_cases.sessions import RefreshSession, SignedIn, SignIn, SignOut
from application.use_cases.users import CreateUser
from domain.errors import Unauthenticated
from domain.session import SessionId, TokenReused, TooManyAttempts
from domain.user import User, UserId
from infrastructure.persistence.memory import unit_of_work as memory_unit
from interfaces.testing.builders import a_user, new_id
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens


def new_token() -> str:
    return new_id().hex


@pytest.fixture
async def ada(transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock) -> User:
    create_user = CreateUser(transact, passwords, ids, clock)
    return await create_user(email="zoë@example.org", username="Ada", password="correct horse")


@pytest.fixture
def sign_in(transact: Transact, store: Store, passwords: FakePasswords, ids: Ids, clock: SetClock) -> SignIn:
    prove = VerifyPassword(transact, passwords, clock, max_failures_per_account=5, max_failures_per_address=8)
    return SignIn(
        transact, store.users, prove, passwords, FakeTokens(), new_token, ids, clock, lifetime=timedelta(days=30)
    )


@pytest.fixture
def refresh(transact: Transact, clock: SetClock) -> RefreshSession:
    return RefreshSession(transact, FakeTokens(), new_token, clock)


@pytest.fixture
def sign_out(transact: Transact) -> SignOut:
    return SignOut(transact)


async def deactivate(user: User, begin: Begin) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(user.id)
        user.deactivate()
        await uow.users.save(user)
        await uow.commit()


@pytest.mark.parametrize("login", ["ada", "ADA", "zoë@example.org", "ZOE\u0308@EXAMPLE.ORG"])
async def test_a_name_is_recognised_however_it_is_spelt(login: str, sign_in: SignIn, ada: User) -> None:
    signed_in = await sign_in(login=login, password="correct horse", address="::1")
    assert signed_in.access.token.startswith(str(ada.id))


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ada", "battery staple"),
        ("zoë@example.org", "Correct horse"),
        ("nobody", "correct horse"),
        ("nobody@example.org", "correct horse"),
        ("inactive", "correct horse"),
        ("", ""),
        ("@", "correct horse"),
        ("a\0da", "correct horse"),
        ("\ud800", "correct horse"),
    ],
)
async def test_nobody_else_gets_in_or_learns_why(
    login: str, password: str, sign_in: SignIn, ada: User, begin: Begin, passwords: FakePasswords
) -> None:
    async with begin() as uow:
        await uow.users.add(a_user(username="inactive", is_active=False, password_hash="hash of correct horse"))
        await uow.commit()
    with pytest.raises(Unauthenticated) as refusal:
        await sign_in(login=login, password=password, address="::1")
    assert refusal.value.code == "wrong-credentials"
    assert len(passwords.verified) == 1


@pytest.mark.parametrize("login", ["ada", "nobody"])
async def test_after_so_many_failures_even_the_right_password_is_not_judged(
    login: str, sign_in: SignIn, ada: User, passwords: FakePasswords, clock: SetClock
) -> None:
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await sign_in(login=login, password="wrong", address=f"192.0.2.{number}")
    with pytest.raises(TooManyAttempts):
        await sign_in(login=login, password="correct horse", address="192.0.2.9")
    assert len(passwords.verified) == 5
    clock.move(minutes=15)
    if login == "ada":
        await sign_in(login=login, password="correct horse", address="192.0.2.9")


async def test_email_and_username_share_their_accounts_count(sign_in: SignIn, ada: User) -> None:
    for login in ("ada", "zoë@example.org", "ADA", "ada", "zoë@example.org"):
        with pytest.raises(Unauthenticated):
            await sign_in(login=login, password="wrong", address="::1")
    with pytest.raises(TooManyAttempts):
        await sign_in(login="ada", password="wrong", address="::2")


async def test_an_address_may_fail_only_so_often(sign_in: SignIn, ada: User) -> None:
    for number in range(8):
        with pytest.raises(Unauthenticated):
            await sign_in(login=f"nobody{number}", password="wrong", address="::1")
    with pytest.raises(TooManyAttempts):
        await sign_in(login="ada", password="correct horse", address="::1")
    await sign_in(login="ada", password="correct horse", address="2001:db8::1")


async def test_whoever_has_many_addresses_of_one_network_gets_no_further(sign_in: SignIn, ada: User) -> None:
    for number in range(8):
        with pytest.raises(Unauthenticated):
            await sign_in(login=f"nobody{number}", password="wrong", address=f"2001:db8::{number}:1")
    with pytest.raises(TooManyAttempts):
        await sign_in(login="ada", password="correct horse", address="2001:db8:0:0:ffff::")
    await sign_in(login="ada", password="correct horse", address="2001:db8:0:1::")


async def test_an_address_is_the_same_in_both_notations(sign_in: SignIn, ada: User) -> None:
    for number in range(8):
        with pytest.raises(Unauthenticated):
            await sign_in(login=f"nobody{number}", password="wrong", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await sign_in(login="ada", password="correct horse", address="::ffff:192.0.2.1")
    await sign_in(login="ada", password="correct horse", address="::ffff:192.0.2.2")


async def test_many_guesses_at_once_get_no_further(sign_in: SignIn, ada: User, passwords: FakePasswords) -> None:
    guesses = (sign_in(login="ada", password="wrong", address=f"::{number}") for number in range(30))
    refusals = await asyncio.gather(*guesses, return_exceptions=True)
    assert [type(refusal) for refusal in refusals].count(Unauthenticated) == 5
    assert len(passwords.verified) == 5


async def test_many_right_log_ins_at_once_all_succeed(sign_in: SignIn, ada: User) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(sign_in(login="ada", password="correct horse", address="::1") for _ in range(30)))


async def test_who_signs_in_from_one_address_at_once_is_not_in_the_others_way(
    sign_in: SignIn, transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock
) -> None:
    """Two units of work each, none of which had to be run again."""
    create_user = CreateUser(transact, passwords, ids, clock)
    names = [f"user{number}" for number in range(8)]
    for name in names:
        await create_user(email=f"{name}@example.org", username=name, password="correct horse")
    begun = 0

    @asynccontextmanager
    async def begin(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        nonlocal begun
        begun += 1
        async with transact.begin(optimistic=optimistic) as uow:
            yield uow

    counting = replace(transact, begin=begin)
    sign_in = replace(sign_in, transact=counting, verify_password=replace(sign_in.verify_password, transact=counting))
    await asyncio.gather(*(sign_in(login=name, password="correct horse", address="::1") for name in names))
    assert begun == 2 * len(names)


async def test_who_could_not_be_judged_has_not_failed(sign_in: SignIn, ada: User, passwords: FakePasswords) -> None:
    passwords.busy = True
    for _ in range(9):
        with pytest.raises(Busy):
            await sign_in(login="ada", password="correct horse", address="::1")
    passwords.busy = False
    await sign_in(login="ada", password="correct horse", address="::1")


async def test_a_password_that_changes_meanwhile_lets_nobody_in(
    sign_in: SignIn, ada: User, passwords: FakePasswords, begin: Begin
) -> None:
    async def change() -> None:
        async with begin() as uow:
            user = await uow.users.get_for_update(ada.id)
            user.change(password_hash="hash of battery staple")
            await uow.users.save(user)
            await uow.commit()

    passwords.meanwhile = change
    with pytest.raises(Unauthenticated):
        await sign_in(login="ada", password="correct horse", address="::1")


async def test_an_outdated_hash_is_made_anew(sign_in: SignIn, ada: User, begin: Begin, store: Store) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        user.change(password_hash="old hash of correct horse")
        await uow.users.save(user)
        await uow.commit()
    await sign_in(login="ada", password="correct horse", address="::1")
    assert (await store.users.get(ada.id)).password_hash == "hash of correct horse"


async def test_whoever_signs_in_while_a_hash_is_made_anew_gets_in(
    sign_in: SignIn, ada: User, begin: Begin, passwords: FakePasswords
) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        user.change(password_hash="old hash of correct horse")
        await uow.users.save(user)
        await uow.commit()

    async def first() -> None:
        passwords.meanwhile = None
        await sign_in(login="ada", password="correct horse", address="::1")

    passwords.meanwhile = first
    await sign_in(login="ada", password="correct horse", address="::1")
    assert passwords.verified == ["old hash of correct horse"] * 2 + ["hash of correct horse"]


async def test_a_hash_that_cannot_be_made_anew_keeps_nobody_out(
    sign_in: SignIn, ada: User, begin: Begin, passwords: FakePasswords, clock: SetClock
) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        user.change(password_hash="old hash of correct horse")
        await uow.users.save(user)
        await uow.commit()

    async def no_room() -> None:
        passwords.hashing_busy = True

    passwords.meanwhile = no_room
    for _ in range(9):
        await sign_in(login="ada", password="correct horse", address="::1")
        passwords.hashing_busy = False
        clock.move(seconds=16)  # an attempt that was left unsettled would count by now


async def test_a_wrong_password_asks_no_more_of_the_store_than_an_unknown_name(
    sign_in: SignIn, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_trips = 0

    async def counted(*, optimistic: bool = False) -> None:
        nonlocal round_trips
        round_trips += 1

    monkeypatch.setattr(memory_unit, "checkpoint", counted)
    seen = []
    for login in ("nobody", "ada"):
        round_trips = 0
        with pytest.raises(Unauthenticated):
            await sign_in(login=login, password="wrong", address="::1")
        seen.append(round_trips)
    assert seen[0] == seen[1] > 0


async def test_a_session_goes_on_by_refreshing(sign_in: SignIn, refresh: RefreshSession, ada: User) -> None:
    signed_in = await sign_in(login="ada", password="correct horse", address="::1")
    for _ in range(3):
        signed_in = await refresh(refresh_token=signed_in.refresh_token)
    assert signed_in.access.token.startswith(str(ada.id))


async def refused(refresh: RefreshSession, *tokens: str) -> None:
    for token in tokens:
        with pytest.raises(Unauthenticated) as refusal:
            await refresh(refresh_token=token)
        assert refusal.value.code == "invalid-refresh-token"


async def test_a_session_that_ends_while_its_token_is_looked_up_is_over(
    sign_in: SignIn, transact: Transact, clock: SetClock, ada: User, store: Store
) -> None:
    """As when it is purged between two statements."""

    @asynccontextmanager
    async def begin(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        async with store.begin(optimistic=optimistic) as uow:
            find = uow.sessions.find

            async def find_what_ends(token_hash: bytes) -> tuple[SessionId, UserId] | None:
                found = await find(token_hash)
                await store.purge(clock() + timedelta(days=31), limit=10)
                return found

            uow.sessions.find = find_what_ends  # type: ignore[method-assign]
            yield uow

    hurried = Transact(begin, clock)
    first = await sign_in(login="ada", password="correct horse", address="::1")
    await refused(RefreshSession(hurried, FakeTokens(), new_token, clock), first.refresh_token)
    second = await sign_in(login="ada", password="correct horse", address="::1")
    assert await SignOut(hurried)(refresh_token=second.refresh_token) is None


async def test_whoever_reuses_a_token_is_told_nothing_and_the_log_all(
    sign_in: SignIn, refresh: RefreshSession, ada: User
) -> None:
    first = await sign_in(login="ada", password="correct horse", address="::1")
    await refresh(refresh_token=first.refresh_token)
    told = []
    for token, kind in ((first.refresh_token, TokenReused), ("unknown", Unauthenticated)):
        with pytest.raises(kind) as refusal:
            await refresh(refresh_token=token)
        told.append((refusal.value.code, refusal.value.detail))
        if isinstance(refusal.value, TokenReused):
            assert refusal.value.user_id == ada.id
    assert told[0] == told[1]


async def test_a_spent_token_ends_its_session_and_no_other(sign_in: SignIn, refresh: RefreshSession, ada: User) -> None:
    first = await sign_in(login="ada", password="correct horse", address="::1")
    other = await sign_in(login="ada", password="correct horse", address="::1")
    second = await refresh(refresh_token=first.refresh_token)
    await refused(refresh, first.refresh_token, second.refresh_token)
    await refresh(refresh_token=other.refresh_token)


async def test_of_many_uses_at_once_at_most_one_has_a_successor(
    sign_in: SignIn, refresh: RefreshSession, ada: User
) -> None:
    first = await sign_in(login="ada", password="correct horse", address="::1")
    uses = (refresh(refresh_token=first.refresh_token) for _ in range(10))
    outcomes = await asyncio.gather(*uses, return_exceptions=True)
    assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) <= 1
    assert all(isinstance(outcome, SignedIn | Unauthenticated) for outcome in outcomes)


async def test_sessions_end_with_time_with_log_out_and_with_their_user(
    sign_in: SignIn, refresh: RefreshSession, sign_out: SignOut, ada: User, begin: Begin, clock: SetClock
) -> None:
    left = await sign_in(login="ada", password="correct horse", address="::1")
    await sign_out(refresh_token=left.refresh_token)
    await refused(refresh, left.refresh_token)

    late = await sign_in(login="ada", password="correct horse", address="::1")
    clock.move(days=30)
    await refused(refresh, late.refresh_token)

    gone = await sign_in(login="ada", password="correct horse", address="::1")
    await deactivate(ada, begin)
    await refused(refresh, gone.refresh_token)


async def test_an_unknown_token_refreshes_nothing_and_may_be_signed_out(
    refresh: RefreshSession, sign_out: SignOut
) -> None:
    await refused(refresh, "", "unknown")
    await sign_out(refresh_token="unknown")


async def test_a_hash_that_is_made_anew_does_not_undo_a_new_password(
    sign_in: SignIn, ada: User, begin: Begin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is changed while its old hash is replaced by one with stronger parameters."""

    async def set_hash(password_hash: str) -> None:
        async with begin() as uow:
            user = await uow.users.get_for_update(ada.id)
            user.change(password_hash=password_hash)
            await uow.users.save(user)
            await uow.commit()

    async def hash_slowly(_: FakePasswords, password: str) -> str:
        await set_hash("hash of battery staple")
        return f"hash of {password}"

    await set_hash("old hash of correct horse")
    monkeypatch.setattr(FakePasswords, "hash", hash_slowly)
    await sign_in(login="ada", password="correct horse", address="::1")
    assert (await store.users.get(ada.id)).password_hash == "hash of battery staple"


async def test_the_right_password_of_an_inactive_account_counts_as_a_failure(
    sign_in: SignIn, ada: User, begin: Begin
) -> None:
    """Otherwise the throttle would tell the right password from a wrong one."""
    await deactivate(ada, begin)
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await sign_in(login="ada", password="correct horse", address=f"192.0.2.{number}")
    with pytest.raises(TooManyAttempts):
        await sign_in(login="ada", password="correct horse", address="192.0.2.9")


async def test_only_the_first_log_out_has_ended_the_session(sign_in: SignIn, sign_out: SignOut, ada: User) -> None:
    signed_in = await sign_in(login="ada", password="correct horse", address="::1")
    assert await sign_out(refresh_token=signed_in.refresh_token) == ada.id
    assert await sign_out(refresh_token=signed_in.refresh_token) is None
