"""What is the SQL adapter's alone: what a purge skips, and the belts under its locks, and what it sends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from application.errors import Busy, TryAgain
from application.paging import Window
from application.ports import UnitOfWork
from application.store import Store
from domain.session import LoginAttempts
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.settings import Settings
from interfaces.certification.overlapping import TRY_AGAIN, attempt, insert
from interfaces.testing.builders import NOON, a_session, a_task, a_transfer, a_user, an_item
from tests.support import engines
from tests.support.engines import RunningEngines

SELECTED = [name for name in ("sqlite", "postgresql") if name in engines.selected()]


@pytest.fixture(params=SELECTED)
async def store(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    _, database = await running_engines.get(request.param)
    yield database.store
    await database.empty()


@pytest.mark.parametrize("store", [name for name in SELECTED if name == "postgresql"], indirect=True)
async def test_purging_does_not_wait_for_what_others_are_at(store: Store) -> None:
    user = a_user()
    used, unused = (a_session(user, expires_at=NOON) for _ in range(2))
    await insert(store.begin, user, used, unused)
    async with asyncio.timeout(60), store.begin() as uow:
        await uow.sessions.get_for_update(used.id)
        assert (await store.purge(NOON, limit=10)).total() == 2  # the session and its token
    assert (await store.purge(NOON, limit=10)).total() == 2


async def test_attempts_that_have_grown_meanwhile_are_not_overwritten(store: Store) -> None:
    async with store.begin() as uow:
        await uow.attempts.save(LoginAttempts(subject=b"somebody", failed=(NOON,), version=2))
        await uow.commit()
    with pytest.raises(TryAgain):
        async with store.begin() as uow:
            await uow.attempts.save(LoginAttempts(subject=b"somebody", version=2))
    async with store.begin() as uow:
        [attempts] = await uow.attempts.get_for_update(b"somebody")
        assert attempts.failed == (NOON,)


async def test_subjects_that_nothing_is_stored_of_are_forgotten_with_their_unit(store: Store) -> None:
    async with store.begin() as uow:
        await uow.attempts.get_for_update(b"nobody", b"anybody")
    assert (await store.purge(NOON + timedelta(days=1), limit=10)).total() == 0


async def test_tasks_and_sessions_go_with_their_user(store: Store) -> None:
    user = a_user()
    session = a_session(user)
    await insert(store.begin, user, session, a_task(user))
    async with store.begin() as uow:
        await uow.users.remove(await uow.users.get_for_update(user.id))
        await uow.commit()
    async with store.begin() as uow:
        assert await uow.sessions.find(session.token_hash) is None


@pytest.mark.parametrize("store", [name for name in SELECTED if name == "postgresql"], indirect=True)
async def test_what_is_sent_together_is_undone_together(store: Store) -> None:
    """The one statement makes no history for an item that has changed meanwhile."""
    giver, taker = a_user(), a_user()
    item = an_item(giver)
    await insert(store.begin, giver, taker, item)

    async def hand_over(uow: UnitOfWork) -> None:
        await uow.items.save(replace(item, version=5, transfers=1, owner_id=taker.id))
        await uow.transfers.add(a_transfer(item, taker))

    assert await attempt(store.begin, hand_over) == TRY_AGAIN
    assert (await store.items.get(item.id)).item == item
    assert (await store.transfers.page(item.id, Window())).items == []


async def test_waiting_for_a_connection_ends_and_takes_no_place(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'store.db'}", pool_timeout=0.05, _env_file=None)
    store = SqlStore(settings)
    await store.upgrade()
    try:
        async with asyncio.timeout(60), store.begin():
            for _ in range(3):
                with pytest.raises(Busy):
                    await store.begin().__aenter__()
        async with asyncio.timeout(60), store.begin():
            pass
    finally:
        await store.close()
