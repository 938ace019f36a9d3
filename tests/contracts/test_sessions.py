"""A refresh token works once, and every token that a session ever had can be found."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from application.ports import Begin, UnitOfWork
from application.transact import Transact
from domain.errors import NotFound
from domain.session import Session, SessionId
from domain.user import User
from interfaces.certification.overlapping import COMMITTED, LIMIT, TRY_AGAIN, Meanwhile, attempt, insert, overlap
from interfaces.testing.builders import NOON, a_session, new_id


@pytest.fixture
async def session(begin: Begin, ada: User) -> Session:
    """Ada's."""
    session = a_session(ada)
    await insert(begin, session)
    return session


async def stored(begin: Begin, session: Session) -> Session | None:
    async with begin() as uow:
        with suppress(NotFound):
            return await uow.sessions.get_for_update(session.id)
    return None


async def rotate(uow: UnitOfWork, session_id: SessionId, presented: bytes, successor: bytes) -> bool:
    session = await uow.sessions.get_for_update(session_id)
    version = session.version
    rotated = session.rotate(presented, successor, NOON)
    if session.version != version:
        await uow.sessions.save(session)
    return rotated


async def test_a_session_comes_back_as_it_was(ada: User, session: Session, begin: Begin) -> None:
    revoked = a_session(ada, revoked=True, version=7)
    await insert(begin, revoked)
    assert await stored(begin, session) == session
    assert await stored(begin, revoked) == revoked
    assert await stored(begin, a_session(ada)) is None


async def test_every_token_that_a_session_ever_had_is_found(ada: User, session: Session, begin: Begin) -> None:
    tokens = [session.token_hash, *(new_id().bytes * 2 for _ in range(5))]
    for presented, successor in pairwise(tokens):
        async with begin() as uow:
            assert await rotate(uow, session.id, presented, successor)
            await uow.commit()
    async with begin() as uow:
        for token in tokens:
            assert await uow.sessions.find(token) == (session.id, ada.id)
        assert await uow.sessions.find(new_id().bytes * 2) is None
    assert await stored(begin, session) == replace(session, token_hash=tokens[-1], version=6)


async def test_sessions_of_a_user_end_together_and_nobody_elses(
    ada: User, grace: User, session: Session, begin: Begin
) -> None:
    other, ended, hers = a_session(ada, version=3), a_session(ada, revoked=True, version=5), a_session(grace)
    await insert(begin, other, ended, hers)
    async with begin() as uow:
        await uow.users.get_for_update(ada.id)
        await uow.sessions.revoke_all(ada.id)
        await uow.commit()
    for one in (session, other, ended):
        now = await stored(begin, one)
        assert now is not None
        assert now.revoked
    assert await stored(begin, hers) == hers


async def test_sessions_of_a_user_go_together_with_their_tokens(
    ada: User, grace: User, session: Session, begin: Begin
) -> None:
    hers = a_session(grace)
    await insert(begin, hers)
    await attempt(begin, lambda uow: rotate(uow, session.id, session.token_hash, b"successor" * 3))
    async with begin() as uow:
        await uow.users.get_for_update(ada.id)
        await uow.sessions.remove_all(ada.id)
        await uow.commit()
    assert await stored(begin, session) is None
    assert await stored(begin, hers) == hers
    async with begin() as uow:
        assert await uow.sessions.find(session.token_hash) is None
        assert await uow.sessions.find(b"successor" * 3) is None


async def test_an_outdated_session_is_not_saved(session: Session, begin: Begin) -> None:
    await attempt(begin, lambda uow: rotate(uow, session.id, session.token_hash, b"successor" * 3))
    needs_rehash = replace(session, token_hash=b"other" * 6, version=2)
    assert await attempt(begin, lambda uow: uow.sessions.save(needs_rehash)) == TRY_AGAIN


async def test_of_many_rotations_with_one_token_one_has_a_successor(
    session: Session, begin: Begin, transact: Transact
) -> None:
    async def use(successor: bytes) -> bool:
        return await transact(lambda uow: rotate(uow, session.id, session.token_hash, successor))

    async with asyncio.timeout(2 * LIMIT):
        rotated = await asyncio.gather(*(use(new_id().bytes * 2) for _ in range(10)))
    assert rotated.count(True) == 1
    now = await stored(begin, session)
    assert now is not None
    assert now.revoked


async def revoke_all(uow: UnitOfWork, user: User) -> None:
    await uow.users.get_for_update(user.id)
    await uow.sessions.revoke_all(user.id)


async def test_no_successor_slips_past_a_revocation(ada: User, session: Session, begin: Begin) -> None:
    async def slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.users.hold(ada.id)
        await rotate(uow, session.id, session.token_hash, b"successor" * 3)
        await meanwhile()

    result = await overlap(begin, slowly, lambda uow: revoke_all(uow, ada))
    assert result.committed >= 1
    now = await stored(begin, session)
    assert now is not None
    assert now.revoked == (result.second == COMMITTED)


async def test_no_revocation_is_undone_by_a_rotation(ada: User, session: Session, begin: Begin) -> None:
    async def refresh(uow: UnitOfWork) -> None:
        await uow.users.hold(ada.id)
        await rotate(uow, session.id, session.token_hash, b"successor" * 3)

    async def slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await revoke_all(uow, ada)
        await meanwhile()

    result = await overlap(begin, slowly, refresh)
    now = await stored(begin, session)
    assert now is not None
    assert now.revoked == (result.first == COMMITTED)


async def test_no_sign_in_slips_past_a_revocation(ada: User, begin: Begin) -> None:
    """Else whoever knew the old password stays signed in after it was changed."""
    new = a_session(ada)

    async def slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await revoke_all(uow, ada)
        await meanwhile()

    async def sign_in(uow: UnitOfWork) -> None:
        await uow.users.hold(ada.id)
        await uow.sessions.add(new)

    ended = await overlap(begin, slowly, sign_in)
    assert ended.committed >= 1
    assert (ended.meanwhile, ended.first) != (COMMITTED, COMMITTED)


async def change_password(uow: UnitOfWork, user: User) -> None:
    changed = await uow.users.get_for_update(user.id)
    changed.change(password_hash="another")
    await uow.users.save(changed)
    await uow.sessions.revoke_all(user.id)


async def test_no_new_session_slips_past_a_new_password(ada: User, begin: Begin) -> None:
    """Whoever signs in holds the user, whose password was right before it changed."""
    fresh = a_session(ada)

    async def sign_in(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.users.hold(ada.id)
        await meanwhile()
        await uow.sessions.add(fresh)

    result = await overlap(begin, sign_in, lambda uow: change_password(uow, ada))
    assert result.committed >= 1
    now = await stored(begin, fresh)
    assert (now is not None) == (result.first == COMMITTED)
    assert now is None or now.revoked == (result.second == COMMITTED)
