"""What the drivers of PostgreSQL and MongoDB raise on a full disk is NoSpace; tests/http has SQLite itself raise it."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from pymongo.errors import OperationFailure

from application.errors import NoSpace, Unavailable
from application.use_cases import copy_store
from application.use_cases.copy_store import CopyStore
from domain.item import Item
from infrastructure.persistence import sqlalchemy
from infrastructure.persistence.beanie import errors as beanie
from infrastructure.persistence.memory import MemoryStore
from infrastructure.persistence.sqlalchemy.engines.postgresql import AsyncpgDriver
from interfaces.testing.builders import a_user, an_item
from tests.support.engines import settings_for


def test_postgresql_without_disk_space() -> None:
    meaning = AsyncpgDriver("PostgreSQL on db").classify(asyncpg.DiskFullError("could not extend file"))
    assert isinstance(meaning, NoSpace)
    assert str(meaning) == "PostgreSQL on db has no disk space left: free some"


def test_postgresql_without_memory_is_another_trouble() -> None:
    meaning = AsyncpgDriver("PostgreSQL on db").classify(asyncpg.OutOfMemoryError("out of memory"))
    assert type(meaning) is Unavailable


def test_mongodb_without_disk_space() -> None:
    with pytest.raises(NoSpace), beanie.translate_errors():
        raise OperationFailure("available disk space is less than required minimum", 14031)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[sqlalchemy.SqlStore]:
    store = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/target.db"))
    assert isinstance(store, sqlalchemy.SqlStore)
    await store.open()
    await store.upgrade()
    yield store
    await store.close()


async def limit_pages(store: sqlalchemy.SqlStore, pages: int) -> None:
    async with store.database.writers.engine.connect() as connection:  # the only one that writes
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


async def test_a_copy_to_a_full_disk_can_be_continued(
    target: sqlalchemy.SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_store, "LARGE_BATCH", 1_000)
    source, owner = MemoryStore(), a_user()
    await source.stream.write([owner])
    await source.stream.write([an_item(owner, description="x" * 1000) for _ in range(3_000)])
    await limit_pages(target, 800)
    with pytest.raises(NoSpace, match="free some disk space"):
        await CopyStore(source, target)("source")
    assert 0 < await target.stream.count(Item) < 3_000

    await limit_pages(target, 2**30)
    counts = await CopyStore(source, target)("source")
    assert counts["items"] == 3_000
