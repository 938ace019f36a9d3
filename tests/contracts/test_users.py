"""E-mail addresses and usernames are unique, and a user that is held does not change."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from application.paging import Window
from application.ports import Begin, UnitOfWork
from application.readers import UserReader
from application.store import Store
from application.transact import Transact
from domain.errors import Conflict, NotFound
from domain.item import Item
from domain.user import User, UserId, require_active
from interfaces.certification.overlapping import COMMITTED, LIMIT, TRY_AGAIN, Meanwhile, attempt, insert, overlap
from interfaces.testing.builders import NOON, a_transfer, a_user, an_item, new_id


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "zoe\u0301.💡@example.org", "username": "a.b-c_1"},
        {"email": "a" * 242 + "@example.org", "username": "x" * 50},
        {"email": "strasse@example.org", "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + "h" * 200},
        {"is_active": False, "version": 7},
        {"created_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"created_at": datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)},
        {"id": UserId(new_id())},
    ],
    ids=str,
)
async def test_a_user_comes_back_as_it_was(fields: dict[str, Any], begin: Begin, users: UserReader) -> None:
    user = a_user(**fields)
    await insert(begin, user)

    assert await users.get(user.id) == user
    assert await users.find_by_login(user.email) == user
    assert await users.find_by_login(user.username) == user
    async with begin() as uow:
        assert await uow.users.get_for_update(user.id) == user
        assert await uow.users.hold(user.id) == {user.id: user}


async def test_times_are_in_utc(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        held = await uow.users.hold(ada.id)
    for user in (await users.get(ada.id), held[ada.id]):
        assert user.created_at.utcoffset() == timedelta(0)


async def test_a_changed_user_comes_back_changed(ada: User, begin: Begin, users: UserReader) -> None:
    changed = a_user(id=ada.id, is_active=False, version=2)
    async with begin() as uow:
        await uow.users.get_for_update(ada.id)
        await uow.users.save(changed)
        await uow.commit()

    assert await users.get(ada.id) == changed
    assert await users.find_by_login(changed.email) is not None
    assert await users.find_by_login(ada.email) is None


async def test_no_such_user(begin: Begin) -> None:
    with pytest.raises(NotFound) as refusal:
        async with begin() as uow:
            await uow.users.get_for_update(UserId(new_id()))
    assert refusal.value.code == "user-not-found"


# Names are unique


async def add(uow: UnitOfWork, user: User) -> None:
    await uow.users.add(user)


@pytest.mark.parametrize(("name", "code"), [("email", "email-taken"), ("username", "username-taken")])
async def test_a_name_is_not_given_twice(name: str, code: str, ada: User, begin: Begin, users: UserReader) -> None:
    other = a_user(**{name: getattr(ada, name)})
    assert await attempt(begin, lambda uow: uow.users.add(other)) == code
    with pytest.raises(NotFound):
        await users.get(other.id)


@pytest.mark.parametrize(("name", "code"), [("email", "email-taken"), ("username", "username-taken")])
async def test_a_name_is_not_changed_to_a_given_one(
    name: str, code: str, ada: User, grace: User, begin: Begin, users: UserReader
) -> None:
    async def take(uow: UnitOfWork) -> None:
        user = await uow.users.get_for_update(grace.id)
        await uow.users.save(replace(user, version=2, **{name: getattr(ada, name)}))

    assert await attempt(begin, take) == code
    assert await users.get(grace.id) == grace


async def test_where_both_names_are_taken_the_address_is_named(ada: User, grace: User, begin: Begin) -> None:
    """On every engine, whatever it looks at first, and whether one other has both or two have one each."""
    for other in (ada, grace):
        both = a_user(email=ada.email, username=other.username)
        assert await attempt(begin, lambda uow, user=both: uow.users.add(user)) == "email-taken"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["email", "username"])
async def test_a_name_twice_in_one_unit(name: str, begin: Begin) -> None:
    one = a_user()
    with pytest.raises(Conflict):
        await insert(begin, one, a_user(**{name: getattr(one, name)}))


async def test_one_name_is_another_s_neither_in_case_nor_accent(begin: Begin, users: UserReader) -> None:
    """The domain folds case before; below it bytes are compared, in all engines alike."""
    spellings = ["resume", "résumé", "re\u0301sume\u0301", "RESUME", "resume ", "ressume", "reßume", "\uff52esume"]
    people = [a_user(email=f"{name}@example.org") for name in spellings]
    for user in people:
        assert await attempt(begin, partial(add, user=user)) == COMMITTED
    for user in people:
        assert await users.find_by_login(user.email) == user


@pytest.mark.parametrize("name", ["email", "username"])
async def test_of_many_who_want_one_name_one_gets_it(name: str, begin: Begin, users: UserReader) -> None:
    wanted = {"email": "wanted@example.org", "username": "wanted"}[name]
    people = [a_user(**{name: wanted}) for _ in range(8)]
    outcomes = await asyncio.gather(*(attempt(begin, partial(add, user=user)) for user in people))

    assert outcomes.count(COMMITTED) == 1
    assert set(outcomes) <= {COMMITTED, TRY_AGAIN, f"{name}-taken"}
    winner = people[outcomes.index(COMMITTED)]
    assert await users.find_by_login(getattr(winner, name)) == winner


async def test_a_name_that_was_never_committed_is_free(begin: Begin) -> None:
    user = a_user()
    async with begin() as uow:
        await uow.users.add(user)
    await insert(begin, a_user(email=user.email, username=user.username))


async def test_a_name_that_was_given_up_is_free(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        await uow.users.save(replace(user, email="new@example.org", version=2))
        await uow.commit()
    successor = a_user(email=ada.email)
    await insert(begin, successor)
    assert await users.find_by_login(ada.email) == successor


# Changes


async def test_an_outdated_user_is_not_saved(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        user = await uow.users.get_for_update(ada.id)
        await uow.users.save(replace(user, email="first@example.org", version=2))
        await uow.commit()

    needs_rehash = replace(ada, email="second@example.org", version=2)
    assert await attempt(begin, lambda uow: uow.users.save(needs_rehash)) == TRY_AGAIN
    assert (await users.get(ada.id)).email == "first@example.org"


async def test_an_outdated_user_is_not_removed(ada: User, begin: Begin, users: UserReader) -> None:
    changed = replace(ada, email="new@example.org", version=2)
    assert await attempt(begin, lambda uow: uow.users.save(changed)) == COMMITTED
    assert await attempt(begin, lambda uow: uow.users.remove(ada)) == TRY_AGAIN
    assert await users.get(ada.id) == changed


@pytest.mark.parametrize("pause", ["after reading", "after writing"])
async def test_overlapping_changes_of_one_user(pause: str, ada: User, begin: Begin, users: UserReader) -> None:
    async def change(uow: UnitOfWork) -> None:
        user = await uow.users.get_for_update(ada.id)
        await uow.users.save(replace(user, email=f"{user.version}@example.org", version=user.version + 1))

    async def change_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        user = await uow.users.get_for_update(ada.id)
        if pause == "after reading":
            await meanwhile()
        await uow.users.save(replace(user, email=f"slow{user.version}@example.org", version=user.version + 1))
        if pause == "after writing":
            await meanwhile()

    ended = await overlap(begin, change_slowly, change)

    assert ended.committed >= 1
    assert (await users.get(ada.id)).version == 1 + ended.committed


# Removal


async def test_a_removed_user_is_gone(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        await uow.users.remove(await uow.users.get_for_update(ada.id))
        await uow.commit()

    with pytest.raises(NotFound):
        await users.get(ada.id)
    assert await users.find_by_login(ada.email) is None
    async with begin() as uow:
        assert await uow.users.hold(ada.id) == {}
    await insert(begin, a_user(email=ada.email, username=ada.username))


async def remove(uow: UnitOfWork, user: User) -> None:
    await uow.users.remove(await uow.users.get_for_update(user.id))


async def test_an_owner_is_not_removed(ada: User, lamp: Item, begin: Begin, store: Store) -> None:
    assert await attempt(begin, lambda uow: remove(uow, ada)) == "user-owns-items"
    assert await store.users.get(ada.id) == ada
    assert (await store.items.get(lamp.id)).owner_username == ada.username


async def test_an_owner_goes_with_the_last_item(ada: User, lamp: Item, begin: Begin) -> None:
    async def remove_both(uow: UnitOfWork) -> None:
        await uow.items.remove(await uow.items.get_for_update(lamp.id))
        await remove(uow, ada)

    assert await attempt(begin, remove_both) == COMMITTED


async def test_a_former_owner_goes_and_stays_in_the_history(
    ada: User, grace: User, lamp: Item, begin: Begin, store: Store
) -> None:
    transfer = a_transfer(lamp, grace)
    async with begin() as uow:
        await uow.items.get_for_update(lamp.id)
        await uow.items.save(replace(lamp, owner_id=grace.id, version=2, transfers=1))
        await uow.transfers.add(transfer)
        await uow.commit()
    assert await attempt(begin, lambda uow: remove(uow, ada)) == COMMITTED
    assert (await store.transfers.page(lamp.id, Window())).items == [transfer]


# Holding


async def test_those_who_exist_are_held(ada: User, grace: User, begin: Begin) -> None:
    stranger = UserId(new_id())
    async with begin() as uow:
        assert await uow.users.hold() == {}
        assert await uow.users.hold(stranger) == {}
        assert await uow.users.hold(grace.id, stranger, ada.id, grace.id) == {ada.id: ada, grace.id: grace}
        await uow.commit()


async def test_a_hold_changes_nothing(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        await uow.users.hold(ada.id)
        await uow.commit()
    assert await users.get(ada.id) == ada


async def test_a_user_may_be_held_and_changed_by_one_unit(ada: User, begin: Begin, users: UserReader) -> None:
    async with begin() as uow:
        await uow.users.hold(ada.id)
        user = await uow.users.get_for_update(ada.id)
        await uow.users.save(replace(user, is_active=False, version=2))
        assert (await uow.users.hold(ada.id))[ada.id].version == 2
        await uow.commit()
    assert (await users.get(ada.id)).version == 2


async def test_many_may_hold_one_user(ada: User, transact: Transact) -> None:
    async def hold(uow: UnitOfWork) -> None:
        await uow.users.hold(ada.id)
        await asyncio.sleep(0.02)

    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(transact(hold) for _ in range(8)))


@pytest.mark.parametrize("others", ["others before", "others after", "an item"])
async def test_a_held_user_is_not_deactivated(
    others: str, ada: User, grace: User, lamp: Item, begin: Begin, users: UserReader
) -> None:
    gift, zoe = an_item(grace), a_user()
    await insert(begin, zoe)

    async def hold(uow: UnitOfWork) -> dict[UserId, User]:
        match others:
            case "others before":
                return await uow.users.hold(ada.id, grace.id)
            case "others after":
                return await uow.users.hold(grace.id, zoe.id)
        _, held = await uow.lock_item(lamp.id, ada.id, grace.id)
        return held

    async def give(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        held = await hold(uow)
        assert held[grace.id].is_active
        await meanwhile()
        await uow.items.add(gift)

    async def deactivate(uow: UnitOfWork) -> None:
        user = await uow.users.get_for_update(grace.id)
        await uow.users.save(replace(user, is_active=False, version=2))

    ended = await overlap(begin, give, deactivate)

    assert ended.committed >= 1
    assert (ended.meanwhile, ended.first) != (COMMITTED, COMMITTED)
    assert (await users.get(grace.id)).is_active == (ended.second != COMMITTED)


async def test_a_held_user_is_not_removed(grace: User, begin: Begin, store: Store) -> None:
    gift = an_item(grace)

    async def give(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.users.hold(grace.id)
        await meanwhile()
        await uow.items.add(gift)

    ended = await overlap(begin, give, lambda uow: remove(uow, grace))

    assert ended.committed == 1
    if ended.first == COMMITTED:
        assert ended.second in {TRY_AGAIN, "user-owns-items"}
        assert (await store.items.get(gift.id)).owner_username == grace.username
    else:
        assert ended.first == TRY_AGAIN


async def test_whoever_is_being_removed_gets_no_item(grace: User, begin: Begin, store: Store) -> None:
    gift = an_item(grace)

    async def remove_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await remove(uow, grace)
        await meanwhile()

    async def give(uow: UnitOfWork) -> None:
        require_active((await uow.users.hold(grace.id)).get(grace.id))
        await uow.items.add(gift)

    ended = await overlap(begin, remove_slowly, give)

    assert ended.committed == 1
    if ended.first == COMMITTED:
        with pytest.raises(NotFound):
            await store.items.get(gift.id)
    else:
        assert (await store.items.get(gift.id)).owner_username == grace.username


async def test_whoever_is_being_removed_is_handed_no_item(
    ada: User, grace: User, lamp: Item, begin: Begin, store: Store
) -> None:
    async def remove_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await remove(uow, grace)
        await meanwhile()

    async def hand_over(uow: UnitOfWork) -> None:
        people = await uow.users.hold(ada.id, grace.id)
        item = await uow.items.get_for_update(lamp.id)
        transfer = item.transfer(id=a_transfer(lamp, grace).id, by=ada.id, to=people.get(grace.id), at=NOON)
        await uow.items.save(item)
        await uow.transfers.add(transfer)

    ended = await overlap(begin, remove_slowly, hand_over)

    assert ended.committed == 1
    owner = ada if ended.first == COMMITTED else grace
    assert (await store.items.get(lamp.id)).owner_username == owner.username


async def test_a_locked_user_is_not_held(grace: User, begin: Begin) -> None:
    """Whatever the lock was taken for: what others do in the user's name comes before it or after it."""

    async def lock(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.users.get_for_update(grace.id)
        await meanwhile()

    ended = await overlap(begin, lock, lambda uow: uow.users.hold(grace.id))
    assert ended.committed >= 1
    assert (ended.meanwhile, ended.first) != (COMMITTED, COMMITTED)
