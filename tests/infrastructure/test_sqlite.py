"""What is SQLite's alone: statements on the event loop, which may not keep it, and the threads of connections."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Integer, Select, column, func, literal, select

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.sqlite import PATIENCE
from infrastructure.settings import Settings
from tests.builders import a_user
from tests.contracts.units import keep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(Settings(database_url=f"sqlite:///{path}", _env_file=None))
    await store.upgrade()
    yield store
    await store.close()


def numbers(upto: int) -> Select[Any]:
    """A read that takes the longer, the more there are."""
    one = select(literal(1, Integer).label("number")).cte("numbers", recursive=True)
    more = select(one.c.number + 1).where(one.c.number < upto)
    return select(func.count(column("number")).label("number")).select_from(one.union_all(more))


async def test_a_brief_read_does_not_leave_the_event_loop(store: SqlStore) -> None:
    """Which a loop that does not turn shows: nothing is awaited that is not there."""
    await store.open()
    reading = store.database.fetch(numbers(10), {})
    with pytest.raises(StopIteration) as end:
        reading.send(None)
    assert [row["number"] for row in end.value.value] == [10]


async def test_a_long_read_does_not_keep_the_event_loop(store: SqlStore) -> None:
    await store.open()
    reading = asyncio.create_task(store.database.fetch(numbers(3_000_000), {}))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert [row["number"] for row in await reading] == [3_000_000]
    assert turns > 10  # on the loop it would be 1


async def test_a_unit_of_work_does_not_keep_the_event_loop_when_another_process_has_the_lock(
    store: SqlStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    user = a_user()
    waiting = asyncio.create_task(keep(store.begin, user))
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.1)
    assert asyncio.get_running_loop().time() - began < PATIENCE / 1000  # for so long SQLite would wait
    assert not waiting.done()
    other.execute("COMMIT")
    await waiting
    other.close()
    assert await store.users.get(user.id) == user


async def test_a_file_that_cannot_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    store = SqlStore(Settings(database_url=f"sqlite:///{tmp_path}/no/such/folder/x.db", _env_file=None))
    with pytest.raises(Unavailable):
        await store.open()
    assert threading.active_count() == before
