"""Copying a store from the command line: to each engine and back, killed on the way, and refused in one line."""

import asyncio
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from application.store import Store
from application.streaming import KINDS
from infrastructure.persistence import sqlalchemy
from interfaces.certification.database import NewDatabase
from interfaces.testing.builders import a_session, a_task, a_transfer, a_user, an_item
from tests.support.engines import settings_for
from tests.support.served import environment, handover

ITEMS = 3_000
KILLS = 4


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Store]:
    """A store in the SQLite file `source.db` of the test's folder."""
    store = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/source.db"))
    await store.open()
    await store.upgrade()
    owners = [a_user() for _ in range(20)]
    items = [an_item(owners[number % 20], name=f"Item {number} ✓") for number in range(ITEMS)]
    await store.stream.write(owners)
    await store.stream.write(items)
    await store.stream.write([a_transfer(item, owners[0]) for item in items])
    await store.stream.write([a_task(owner) for owner in owners])
    await store.stream.write([a_session(owner) for owner in owners])
    yield store
    await store.close()


async def everything(store: Store) -> dict[str, set[str]]:
    return {kind.__name__: {repr(one) for one in await store.stream.read(kind, None, 10_000)} for kind in KINDS}


async def start_a_copy(folder: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interfaces.cli.main", "copy", *words),
        cwd=folder,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def kill_a_copy(folder: Path, seconds: float, *words: str) -> bool:
    """Kill it after so many seconds, unless it has ended; return whether it was killed."""
    process = await start_a_copy(folder, *words)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.communicate()
    if process.returncode is not None:
        return False
    process.kill()
    await process.communicate()
    return True


async def test_there_and_back_killed_on_the_way(
    engine: str, new_database: NewDatabase, source: Store, tmp_path: Path
) -> None:
    if engine == "memory":
        run = await handover("copy", "sqlite:///source.db", "memory://", folder=tmp_path)
        assert (run.exit_code, run.out) == (1, "")
        assert run.err == "handover: memory:// ends with this command: name a store that lasts\n"
        return
    chance = random.Random(engine)
    async with new_database() as there:
        there_url = there.settings.database_url
        for _ in range(KILLS):
            await kill_a_copy(tmp_path, chance.uniform(0.8, 2.5), "sqlite:///source.db", there_url)
        run = await handover("copy", "sqlite:///source.db", there_url, folder=tmp_path)
        if run.exit_code == 1:  # one of those that were to be killed had already ended
            assert "the target is not empty" in run.err
        else:
            assert run.exit_code == 0, run.err
            assert "items:                  3,000\n" in run.out
            assert "Copied and verified." in run.out
            assert "verify target: 3,000 items" in run.err
        assert await everything(there.store) == await everything(source)

        back = await handover("copy", there_url, "sqlite:///back.db", folder=tmp_path)
        assert back.exit_code == 0, back.err
    returned = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/back.db"))
    assert await everything(returned) == await everything(source)
    await returned.close()


async def test_ctrl_c_ends_it_in_one_line(source: Store, tmp_path: Path) -> None:
    target = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/target.db"))
    await target.open()
    await target.upgrade()
    await target.close()
    process = await start_a_copy(tmp_path, "sqlite:///source.db", "sqlite:///target.db")
    with closing(sqlite3.connect(tmp_path / "target.db", timeout=60, isolation_level=None)) as lock:
        async with asyncio.timeout(60):
            while True:  # until something has been copied; then the lock keeps the copy from going on
                lock.execute("BEGIN IMMEDIATE")
                if lock.execute("SELECT count(*) FROM users").fetchone() != (0,):
                    break
                lock.execute("ROLLBACK")
                await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out) == (-signal.SIGINT, b"")
    assert err.decode().splitlines()[-1] == "handover: interrupted: repeat the command to continue the copy"
    assert b"Traceback" not in err

    run = await handover("copy", "sqlite:///source.db", "sqlite:///target.db", folder=tmp_path)
    assert run.exit_code == 0, run.err
    assert await everything(target) == await everything(source)
    await target.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sqlite:///source.db", "sqlite:///source.db"], "are the same store"),
        (["sqlite:///source.db", "sqlite:///./source.db"], "are the same store"),
        (["sqlite:///source.db", "papyrus://roll"], "handover: TARGET_URL: must start with"),
        (["papyrus://roll", "sqlite:///target.db"], "handover: SOURCE_URL: must start with"),
        (["sqlite:///source.db", "sqlite:///none/of/them.db"], "create its folder, or name another file in TARGET_URL"),
        (["postgresql://x@127.0.0.1:1/x", "sqlite:///target.db"], "is SOURCE_URL right?"),
        (["sqlite:///missing.db", "sqlite:///target.db"], "SOURCE_URL: there is no SQLite file"),
        (["sqlite:///empty.db", "sqlite:///target.db"], "run `handover migrate up` on it"),
        (
            ["sqlite:///source.db", "sqlite:///target.db", "--target-adapter", "papyrus"],
            "--target-adapter: there is no such",
        ),
    ],
)
async def test_what_cannot_be_copied_is_refused_in_one_line(
    words: list[str], said: str, source: Store, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()
    run = await handover("copy", *words, folder=tmp_path)
    assert (run.exit_code, run.out) == (1, "")
    assert said in run.err
    assert "HANDOVER_" not in run.err
    assert run.err.count("\n") == 1
    assert "Traceback" not in run.err


async def test_a_target_whose_migration_was_interrupted_is_migrated(source: Store, tmp_path: Path) -> None:
    """As a copy leaves it that was killed between two migrations: with the older schema, and empty."""
    target = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/target.db"))
    await target.open()
    await target.upgrade()
    await target.downgrade()
    assert not (await target.schema()).is_current
    run = await handover("copy", "sqlite:///source.db", "sqlite:///target.db", folder=tmp_path)
    assert run.exit_code == 0, run.err
    assert await everything(target) == await everything(source)
    await target.close()


async def test_a_target_with_an_older_schema_and_data_is_refused(source: Store, tmp_path: Path) -> None:
    target = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/target.db"))
    await target.open()
    await target.upgrade()
    await target.stream.write([a_user()])
    await target.downgrade()
    before = await target.schema()
    run = await handover("copy", "sqlite:///source.db", "sqlite:///target.db", folder=tmp_path)
    assert (run.exit_code, run.out) == (1, "")
    assert "name an empty store" in run.err
    assert await target.schema() == before
    await target.close()


async def test_a_target_in_use_is_refused(source: Store, tmp_path: Path) -> None:
    assert (await handover("copy", "sqlite:///source.db", "sqlite:///target.db", folder=tmp_path)).exit_code == 0
    run = await handover("copy", "sqlite:///source.db", "sqlite:///target.db", folder=tmp_path)
    assert (run.exit_code, run.out) == (1, "")
    assert run.err == "handover: the target is not empty, it has users: name another\n"
