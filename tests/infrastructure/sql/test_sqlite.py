"""What is SQLite's alone: statements on the event loop, which may not keep it, and the threads of connections."""

import asyncio
import itertools
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Integer, Select, column, func, literal, select

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.engines import aiosqlite_connections
from infrastructure.persistence.sqlalchemy.engines.errors import UnexpectedDriverError
from infrastructure.settings import Misconfigured, Settings
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import NOON, a_user


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


async def test_nothing_is_too_late_to_begin(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite counts the steps of a statement from one run to the next, and so looks at the time in every hundredth
    BEGIN alone: at its end."""
    monkeypatch.setattr(aiosqlite_connections, "perf_counter", itertools.count().__next__)
    for _ in range(300):
        async with store.begin():
            pass


async def test_a_connection_that_may_have_begun_is_not_used_again(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin_and_fail(*statement: Any) -> Any:
        real(*statement)
        raise sqlite3.OperationalError("cut off")

    real = aiosqlite_connections._query_on_event_loop
    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite_connections, "_query_on_event_loop", begin_and_fail)
        with pytest.raises(UnexpectedDriverError, match="cut off"):
            async with store.begin():
                pass
    await insert(store.begin, a_user())


async def test_a_long_read_does_not_keep_the_event_loop(store: SqlStore) -> None:
    await store.open()
    reading = asyncio.create_task(store.database.fetch(numbers(3_000_000), {}))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert [row["number"] for row in await reading] == [3_000_000]
    assert turns > 10  # on the loop it would be 1


async def test_in_its_thread_nobody_looks_at_the_time(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes the interpreter's lock, for which a busy event loop lets it wait."""
    looking: list[int] = []

    def look() -> float:
        looking.append(threading.get_ident())
        return time.perf_counter()

    monkeypatch.setattr(aiosqlite_connections, "perf_counter", look)
    await store.database.fetch(numbers(1_000_000), {})
    assert set(looking) == {threading.get_ident()}


async def test_a_unit_of_work_is_never_interrupted(store: SqlStore) -> None:
    """SQLite might undo the whole transaction with a statement."""
    connection = await store.database.begin()
    with pytest.raises(StopIteration) as end:
        connection.fetch(numbers(100_000), {}).send(None)
    assert [row["number"] for row in end.value.value] == [100_000]
    await connection.execute("ROLLBACK")
    connection.release()


async def test_what_waits_for_the_disk_or_is_about_many_rows_leaves_the_event_loop(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stayed: list[str] = []

    def note(connection: sqlite3.Connection, sql: str, arguments: list[Any]) -> Any:
        stayed.append(sql.split(maxsplit=1)[0])
        return real(connection, sql, arguments)

    real = aiosqlite_connections._query_on_event_loop
    monkeypatch.setattr(aiosqlite_connections, "_query_on_event_loop", note)
    user = a_user()
    async with store.begin() as uow:
        await uow.users.add(user)
        await uow.users.hold(user.id)
        await uow.tasks.remove_all(user.id)
        await uow.commit()
    await store.purge(NOON, limit=10)
    assert stayed == ["BEGIN", "INSERT", "SELECT"]


async def test_a_value_that_is_no_text_is_an_error_of_the_store(store: SqlStore, path: Path) -> None:
    """It is Python's own error, which has no code."""
    user = a_user()
    await insert(store.begin, user)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE users SET username = cast(x'ff41' AS text)")
    other.close()
    with pytest.raises(UnexpectedDriverError, match="UTF-8"):
        await store.users.get(user.id)


async def test_a_read_that_is_interrupted_at_once_leaves_the_patience_as_it_was(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiosqlite_connections, "LONGEST_ON_EVENT_LOOP", -1)
    monkeypatch.setattr(aiosqlite_connections, "STEPS_BETWEEN_CHECKS", 1)
    for _ in range(100):
        assert [row["number"] for row in await store.database.fetch(numbers(10), {})] == [10]
        connection = await store.database._acquire(store.database.readers)
        [(milliseconds,)] = await connection.driver.query(
            connection.connection, "PRAGMA busy_timeout", [], is_short=False
        )
        connection.release()
        assert milliseconds == aiosqlite_connections.BUSY_TIMEOUT


async def test_a_unit_of_work_does_not_keep_the_event_loop_when_another_process_has_the_lock(
    store: SqlStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    user = a_user()
    waiting = asyncio.create_task(insert(store.begin, user))
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.1)
    assert (
        asyncio.get_running_loop().time() - began < aiosqlite_connections.BUSY_TIMEOUT / 1000
    )  # for so long SQLite would wait
    assert not waiting.done()
    other.execute("COMMIT")
    await waiting
    other.close()
    assert await store.users.get(user.id) == user


async def test_files_that_cannot_be_opened_leave_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in range(30):
        store = SqlStore(Settings(database_url=f"sqlite:///{tmp_path}/no/such/folder/x.db", _env_file=None))
        with pytest.raises(Unavailable):
            await store.open()
        assert threading.active_count() <= before  # a thread of an earlier test may end meanwhile


async def test_a_connection_whose_opening_is_cancelled_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []
    may_open = threading.Event()

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        may_open.wait(60)
        opened.append(open_file(*arguments, **options))
        return opened[-1]

    def is_closed(connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return True
        return False

    open_file = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    threads = threading.active_count()
    opening = asyncio.ensure_future(aiosqlite_connections.Connector(path)())
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    may_open.set()
    async with asyncio.timeout(60):
        while threading.active_count() > threads:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.01)
    assert [is_closed(connection) for connection in opened] == [True]


async def test_the_file_stays_the_same_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its name is not taken for a URI, as a SQLite might that is built so."""
    monkeypatch.chdir(tmp_path)
    store = SqlStore(Settings(database_url="sqlite:///file:store.db", _env_file=None))
    await store.upgrade()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await insert(store.begin, a_user())
    await store.close()
    assert (tmp_path / "file:store.db").exists()
    assert [*(tmp_path / "elsewhere").iterdir()] == []


@pytest.mark.parametrize("name", [":memory:", "./:memory:", "folder/:memory:", ""])
def test_a_store_in_memory_is_not_this_one(name: str) -> None:
    with pytest.raises(Misconfigured, match="memory://"):
        SqlStore(Settings(database_url=f"sqlite:///{name}", _env_file=None))


async def test_a_file_that_the_limit_of_open_files_keeps_closed_is_opened_later(store: SqlStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Unavailable, match="the limit of open files is reached"):
            await store.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await store.open()
    await insert(store.begin, a_user())


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_nobody_but_the_owner_may_read_a_new_file(path: Path) -> None:
    old = os.umask(0)
    try:
        store = SqlStore(Settings(database_url=f"sqlite:///{path}", _env_file=None))
        await store.upgrade()
        await insert(store.begin, a_user())
        assert modes(path.parent) == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm"], 0o600)
        await store.close()
    finally:
        os.umask(old)


async def test_a_file_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    (tmp_path / "store.db").chmod(0o660)
    store = SqlStore(Settings(database_url=f"sqlite:///{tmp_path}/store.db", _env_file=None))
    await store.upgrade()
    await insert(store.begin, a_user())
    assert modes(tmp_path) == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm"], 0o660)
    await store.close()


async def test_the_file_that_a_link_names_is_created(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "store.db").symlink_to("data/file.db")
    store = SqlStore(Settings(database_url=f"sqlite:///{tmp_path}/store.db", _env_file=None))
    await store.upgrade()
    await store.close()
    assert modes(tmp_path / "data") == {"file.db": 0o600}


def users_seen_by_another_process(path: Path) -> int:
    query = "import sqlite3, sys; f = sqlite3.connect(sys.argv[1])"
    query += "; print(f.execute('select count(*) from users').fetchone()[0]); f.close()"
    return int(subprocess.check_output([sys.executable, "-c", query, path], timeout=60))


async def test_an_error_of_opening_the_file_gives_up_no_lock_of_another_connection(store: SqlStore, path: Path) -> None:
    """If it did, the next process that closes the file would take itself for the last one, and remove the log."""
    ada, grace = a_user(), a_user()
    await insert(store.begin, ada)
    with pytest.raises(sqlite3.OperationalError) as failed:
        sqlite3.connect(path.parent / "missing" / "store.db")
    assert isinstance(store.database.driver.classify(failed.value), Unavailable)

    assert users_seen_by_another_process(path) == 1
    await insert(store.begin, grace)
    assert users_seen_by_another_process(path) == 2


async def test_a_further_connection_gives_up_no_lock_of_another_one(store: SqlStore, path: Path) -> None:
    """It would if Handover opened and closed a file that exists, to create it."""
    ada, grace = a_user(), a_user()
    await insert(store.begin, ada)
    connection = await aiosqlite_connections.Connector(path)()
    await connection.close()

    assert users_seen_by_another_process(path) == 1
    await insert(store.begin, grace)
    assert users_seen_by_another_process(path) == 2


async def test_a_file_that_was_moved_away_is_not_replaced_by_an_empty_one(store: SqlStore, path: Path) -> None:
    await store.open()
    await insert(store.begin, user := a_user())
    await store.close()  # of all connections, so that the next ones are new
    os.rename(path, f"{path}.away")

    with pytest.raises(Unavailable, match="is missing: put it back"):
        await insert(store.begin, a_user())
    with pytest.raises(Unavailable, match="is missing: put it back"):
        await store.users.get(user.id)
    assert path.name not in os.listdir(path.parent)

    os.rename(f"{path}.away", path)
    await insert(store.begin, a_user())
    assert await store.users.get(user.id) == user


async def test_a_terminated_connection_releases_its_lock_while_a_cursor_is_unfinished(
    store: SqlStore, path: Path
) -> None:
    """The traceback of a cancelled task can refer to such a cursor for as long as somebody keeps the task."""
    await store.open()
    async with store.database.writers.engine.connect() as connection:
        pooled = await connection.get_raw_connection()
        assert pooled.dbapi_connection
        driver = pooled.driver_connection
        assert driver
        await driver.execute("BEGIN IMMEDIATE")
        cursor = await driver.execute("SELECT value FROM json_each('[1, 2, 3]')")
        assert await cursor.fetchone() == (1,)
        store.database.dialect.do_terminate(pooled.dbapi_connection)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)) as other:
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        assert cursor
        await connection.invalidate()
