"""What the drivers of PostgreSQL and MongoDB raise on a full disk is NoSpace; tests/http has SQLite itself raise it."""

import asyncpg
import pytest
from pymongo.errors import OperationFailure

from application.errors import NoSpace, Unavailable
from infrastructure.persistence.beanie import errors as beanie
from infrastructure.persistence.sqlalchemy.engines.postgresql import AsyncpgDriver


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
