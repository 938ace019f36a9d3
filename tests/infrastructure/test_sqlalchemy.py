"""What is the SQL adapter's alone: purging piece by piece, and the belts under its locks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from application.errors import TryAgain
from application.ports import Store
from domain.session import Attempts
from infrastructure.persistence.sqlalchemy.purge import PIECE
from tests import engines
from tests.builders import NOON, a_session, a_task, a_user
from tests.contracts.units import keep
from tests.engines import RunningEngines

SELECTED = [name for name in ("sqlite", "postgresql") if name in engines.selected()]


@pytest.fixture(params=SELECTED)
async def store(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    _, database = await running_engines.get(request.param)
    yield database.store
    await database.empty()


async def test_what_is_to_be_purged_may_be_more_than_a_piece(store: Store) -> None:
    user = a_user()
    expired = [a_session(user, expires_at=NOON) for _ in range(PIECE + 1)]
    lasting = a_session(user)
    await keep(store.begin, user, lasting, *expired)
    assert await store.purge(NOON) == PIECE + 1
    assert await store.purge(NOON) == 0
    async with store.begin() as uow:
        assert await uow.sessions.find(expired[-1].token_hash) is None
        assert await uow.sessions.find(lasting.token_hash) is not None


@pytest.mark.parametrize("store", [name for name in SELECTED if name == "postgresql"], indirect=True)
async def test_purging_does_not_wait_for_what_others_are_at(store: Store) -> None:
    user = a_user()
    used, unused = (a_session(user, expires_at=NOON) for _ in range(2))
    await keep(store.begin, user, used, unused)
    async with asyncio.timeout(5), store.begin() as uow:
        await uow.sessions.get_for_update(used.id)
        assert await store.purge(NOON) == 1
    assert await store.purge(NOON) == 1


async def test_attempts_that_have_grown_meanwhile_are_not_overwritten(store: Store) -> None:
    async with store.begin() as uow:
        await uow.attempts.save(Attempts(subject=b"somebody", failed=(NOON,), version=2))
        await uow.commit()
    with pytest.raises(TryAgain):
        async with store.begin() as uow:
            await uow.attempts.save(Attempts(subject=b"somebody", version=2))
    async with store.begin() as uow:
        [attempts] = await uow.attempts.get_for_update(b"somebody")
        assert attempts.failed == (NOON,)


async def test_subjects_that_nothing_is_stored_of_are_forgotten_with_their_unit(store: Store) -> None:
    async with store.begin() as uow:
        await uow.attempts.get_for_update(b"nobody", b"anybody")
    assert await store.purge(NOON + timedelta(days=1)) == 0


async def test_tasks_and_sessions_go_with_their_user(store: Store) -> None:
    user = a_user()
    session = a_session(user)
    await keep(store.begin, user, session, a_task(user))
    async with store.begin() as uow:
        await uow.users.remove(await uow.users.get_for_update(user.id))
        await uow.commit()
    async with store.begin() as uow:
        assert await uow.sessions.find(session.token_hash) is None
