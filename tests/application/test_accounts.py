from decimal import Decimal

import pytest

from application.errors import Busy
from application.ports import Begin, Ids
from application.store import Store
from application.transact import Transact
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem
from application.use_cases.passwords import VerifyPassword
from application.use_cases.sessions import hash_token
from application.use_cases.tasks import CreateTask
from application.use_cases.users import ActivateUser, ChangeAccount, CreateUser, DeactivateUser, DeleteAccount
from domain.errors import Conflict, Forbidden, Invalid, NotFound, Stale, Unauthenticated
from domain.session import TooManyAttempts
from domain.task import TaskStatus
from domain.user import User, UserId
from interfaces.testing.builders import a_session, a_user, new_id
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords

TOKEN = hash_token("token")


@pytest.fixture
async def ada(transact: Transact, passwords: FakePasswords, ids: Ids, clock: SetClock, begin: Begin) -> User:
    create_user = CreateUser(transact, passwords, ids, clock)
    user = await create_user(email="ada@example.org", username="ada", password="correct horse")
    async with begin() as uow:
        await uow.sessions.add(a_session(user, token_hash=TOKEN))
        await uow.commit()
    return user


@pytest.fixture
async def grace(begin: Begin) -> User:
    user = a_user(username="grace", email="grace@example.org")
    async with begin() as uow:
        await uow.users.add(user)
        await uow.commit()
    return user


@pytest.fixture
def change_account(transact: Transact, store: Store, passwords: FakePasswords, clock: SetClock) -> ChangeAccount:
    prove = VerifyPassword(transact, passwords, clock, max_failures_per_account=3, max_failures_per_address=100)
    return ChangeAccount(transact, store.users, prove, passwords)


@pytest.fixture
def delete_account(transact: Transact) -> DeleteAccount:
    return DeleteAccount(transact)


async def session_goes_on(begin: Begin) -> bool:
    async with begin() as uow:
        found = await uow.sessions.find(TOKEN)
        return found is not None and not (await uow.sessions.get_for_update(found[0])).revoked


async def test_a_new_email_leaves_the_session(
    change_account: ChangeAccount, ada: User, store: Store, begin: Begin
) -> None:
    await change_account(ada.id, by=ada.id, current_password="correct horse", email="New@example.org", address="::1")
    assert (await store.users.get(ada.id)).email == "new@example.org"
    assert await session_goes_on(begin)


async def test_a_new_password_ends_every_session(
    change_account: ChangeAccount, ada: User, store: Store, begin: Begin
) -> None:
    await change_account(ada.id, by=ada.id, current_password="correct horse", password="battery staple", address="::1")
    assert (await store.users.get(ada.id)).password_hash == "hash of battery staple"
    assert not await session_goes_on(begin)


async def test_wrong_passwords_change_nothing_and_are_counted(
    change_account: ChangeAccount, ada: User, store: Store
) -> None:
    for _ in range(3):
        with pytest.raises(Forbidden) as refusal:
            await change_account(ada.id, by=ada.id, current_password="wrong", email="x@example.org", address="::1")
        assert refusal.value.code == "wrong-password"
    with pytest.raises(TooManyAttempts):
        await change_account(ada.id, by=ada.id, current_password="correct horse", email="x@example.org", address="::1")
    assert (await store.users.get(ada.id)).email == "ada@example.org"


async def test_somebody_elses_account_is_not_ones_own(
    change_account: ChangeAccount, delete_account: DeleteAccount, ada: User, grace: User, passwords: FakePasswords
) -> None:
    for user_id, kind in ((grace.id, Forbidden), (UserId(new_id()), NotFound)):
        with pytest.raises(kind):
            await change_account(user_id, by=ada.id, current_password="correct horse", address="::1")
        with pytest.raises(kind):
            await delete_account(user_id, by=ada.id)
    assert passwords.verified == []


async def test_no_version_of_an_account_is_the_expected_one(
    change_account: ChangeAccount, delete_account: DeleteAccount, ada: User, passwords: FakePasswords, store: Store
) -> None:
    for expected in ({ada.version}, {ada.version + 98}, set()):
        with pytest.raises(Stale):
            await change_account(
                ada.id, by=ada.id, current_password="wrong", email="x@example.org", expected=expected, address="::1"
            )
        with pytest.raises(Stale):
            await delete_account(ada.id, by=ada.id, expected=expected)
    assert await store.users.get(ada.id) == ada
    assert passwords.verified == []


async def test_a_taken_or_faulty_email_is_refused(change_account: ChangeAccount, ada: User, grace: User) -> None:
    with pytest.raises(Conflict):
        await change_account(
            ada.id, by=ada.id, current_password="correct horse", email="GRACE@example.org", address="::1"
        )
    with pytest.raises(Invalid):
        await change_account(ada.id, by=ada.id, current_password="correct horse", email="nowhere", address="::1")
    with pytest.raises(Invalid):
        await change_account(ada.id, by=ada.id, current_password="correct horse", password="short", address="::1")


async def test_what_is_refused_for_another_reason_was_no_wrong_guess(
    change_account: ChangeAccount, ada: User, grace: User, passwords: FakePasswords, clock: SetClock, store: Store
) -> None:
    for _ in range(3):
        with pytest.raises(Conflict):
            await change_account(
                ada.id, by=ada.id, current_password="correct horse", email="grace@example.org", address="::1"
            )
        passwords.hashing_busy = True
        with pytest.raises(Busy):
            await change_account(
                ada.id, by=ada.id, current_password="correct horse", password="battery staple", address="::1"
            )
        passwords.hashing_busy = False
        clock.move(seconds=16)  # an attempt that was left unsettled would count by now
    await change_account(ada.id, by=ada.id, current_password="correct horse", email="new@example.org", address="::1")
    assert (await store.users.get(ada.id)).email == "new@example.org"


async def test_a_hash_that_is_made_anew_meanwhile_is_no_obstacle(
    change_account: ChangeAccount, ada: User, passwords: FakePasswords, begin: Begin, store: Store
) -> None:
    async def rehash() -> None:
        passwords.meanwhile = None
        async with begin() as uow:
            user = await uow.users.get_for_update(ada.id)
            user.change(password_hash="old hash of correct horse")
            await uow.users.save(user)
            await uow.commit()

    passwords.meanwhile = rehash
    await change_account(ada.id, by=ada.id, current_password="correct horse", password="battery staple", address="::1")
    assert (await store.users.get(ada.id)).password_hash == "hash of battery staple"
    assert not await session_goes_on(begin)


async def test_a_common_password_is_refused_before_any_is_hashed(
    change_account: ChangeAccount, ada: User, passwords: FakePasswords
) -> None:
    with pytest.raises(Invalid) as refusal:
        await change_account(ada.id, by=ada.id, current_password="correct horse", password="Qwerty123", address="::1")
    assert refusal.value.code == "common-password"
    assert passwords.verified == []


async def test_an_account_goes_with_its_tasks_and_sessions(
    delete_account: DeleteAccount, ada: User, transact: Transact, ids: Ids, clock: SetClock, store: Store, begin: Begin
) -> None:
    create_task = CreateTask(transact, ids, clock)
    task = await create_task(by=ada.id, title="Dust", description=None, status=TaskStatus.PENDING)
    await delete_account(ada.id, by=ada.id)
    with pytest.raises(NotFound):
        await store.users.get(ada.id)
    with pytest.raises(NotFound):
        await store.tasks.get(task.id, ada.id)
    async with begin() as uow:
        assert await uow.sessions.find(TOKEN) is None
    with pytest.raises(Unauthenticated):
        await delete_account(ada.id, by=ada.id)


async def test_an_account_with_items_stays(
    delete_account: DeleteAccount, ada: User, transact: Transact, ids: Ids, clock: SetClock, begin: Begin
) -> None:
    lamp = await CreateItem(transact, ids, clock)(by=ada.id, name="Lamp", description=None, price=Decimal(1))
    with pytest.raises(Conflict) as refusal:
        await delete_account(ada.id, by=ada.id)
    assert refusal.value.code == "user-owns-items"
    assert await session_goes_on(begin)
    await DeleteItem(transact)(lamp.item.id, by=ada.id)
    await delete_account(ada.id, by=ada.id)


async def test_items_change_and_go(
    ada: User, grace: User, transact: Transact, ids: Ids, clock: SetClock, store: Store
) -> None:
    lamp = await CreateItem(transact, ids, clock)(by=ada.id, name="Lamp", description=None, price=Decimal(1))
    change, delete = ChangeItem(transact), DeleteItem(transact)
    changed = await change(lamp.item.id, {"name": "Lantern"}, by=ada.id, expected={1})
    assert (changed.item.name, changed.item.version, changed.owner_username) == ("Lantern", 2, "ada")
    assert (await change(lamp.item.id, {"name": "Lantern"}, by=ada.id)).item.version == 2
    assert await store.items.get(lamp.item.id) == changed
    for attempt in (change(lamp.item.id, {"name": "Mine"}, by=grace.id), delete(lamp.item.id, by=grace.id)):
        with pytest.raises(Forbidden):
            await attempt
    with pytest.raises(Stale):
        await delete(lamp.item.id, by=ada.id, expected={1})
    await delete(lamp.item.id, by=ada.id, expected={1, 2})
    with pytest.raises(NotFound):
        await store.items.get(lamp.item.id)


async def test_a_deactivated_user_is_out_at_once_and_may_come_back(
    ada: User, transact: Transact, store: Store, begin: Begin, delete_account: DeleteAccount
) -> None:
    assert not (await DeactivateUser(transact, store.users)("ADA")).is_active
    assert not await session_goes_on(begin)
    with pytest.raises(Unauthenticated):
        await delete_account(ada.id, by=ada.id)
    assert (await ActivateUser(transact, store.users)("ada")).is_active
    assert not await session_goes_on(begin)
    with pytest.raises(NotFound):
        await DeactivateUser(transact, store.users)("nobody")


async def test_a_new_password_ends_sessions_also_together_with_a_new_email(
    change_account: ChangeAccount, ada: User, begin: Begin
) -> None:
    await change_account(
        ada.id,
        by=ada.id,
        current_password="correct horse",
        email="new@example.org",
        password="battery staple",
        address="::1",
    )
    assert not await session_goes_on(begin)


async def test_deactivating_again_ends_sessions_too(ada: User, transact: Transact, store: Store, begin: Begin) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        user.deactivate()
        await uow.users.save(user)
        await uow.commit()
    await DeactivateUser(transact, store.users)("ada")
    assert not await session_goes_on(begin)


async def test_an_inactive_caller_does_not_learn_which_accounts_exist(
    delete_account: DeleteAccount, ada: User, grace: User, transact: Transact, store: Store
) -> None:
    await DeactivateUser(transact, store.users)("ada")
    for other in (grace.id, UserId(new_id())):
        with pytest.raises(Unauthenticated):
            await delete_account(other, by=ada.id)
