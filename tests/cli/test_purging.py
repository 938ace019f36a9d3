"""The purge in the background of a served process: that it runs, that it can be switched off, and that it stops."""

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog

from application.errors import Unavailable
from application.streaming import StoredKey
from application.transact import Transact
from application.use_cases.purge import PurgeExpired, PurgeInTurn
from infrastructure.clock_and_ids import utc_now
from infrastructure.persistence.memory import MemoryStore
from interfaces.certification.database import Database
from interfaces.cli.serving.purging import purge_repeatedly
from interfaces.http.metrics import Metrics
from interfaces.testing.builders import NOON, a_key
from tests.support import engines
from tests.support.served import served

MANY = 100_000
"""More expired keys than are removed in half of an interval."""

LONG_AGO = NOON - timedelta(days=1000)

lasting = pytest.mark.parametrize("engine", [name for name in engines.selected_above_the_store() if name != "memory"])


def expired_keys(number: int) -> list[StoredKey]:
    return [StoredKey(id=a_key(), fingerprint=b"", expires_at=LONG_AGO, answer=b"") for _ in range(number)]


@lasting
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_purges_by_itself(workers: str, database: Database, tmp_path: Path) -> None:
    await database.store.stream.write(expired_keys(3))
    settings = {"DATABASE_URL": database.settings.database_url, "PURGE_INTERVAL": "2", "WORKERS": workers}
    async with served(tmp_path, **settings) as server, server.client() as client:
        async with asyncio.timeout(60):
            while "purged" not in server.said:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.05)
        assert (await client.get("/metrics")).text.count('handover_purged_records_total{kind="keys"} 3.0') == 1
        assert await server.stop() == 0
        assert server.said.count("purged") == 1
        assert "purge failed" not in server.said
        assert "Traceback" not in server.said


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with served(tmp_path, PURGE_INTERVAL="0") as server:
        with closing(sqlite3.connect(tmp_path / "handover.db")) as connection:
            add_expired_keys(connection, 3)
            await asyncio.sleep(2)
            assert number_of_keys(connection) == 3
        assert await server.stop() == 0
        assert "purged" not in server.said


async def test_sigterm_ends_a_purge_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, PURGE_INTERVAL="6", DRAIN_SECONDS="2") as server:
        with closing(sqlite3.connect(tmp_path / "handover.db")) as connection:
            add_expired_keys(connection, MANY)
            async with asyncio.timeout(60):
                while number_of_keys(connection) >= MANY:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            async with asyncio.timeout(60):
                while "draining" not in server.said:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.02)
                left = MANY
                while left != (left := number_of_keys(connection)):  # noqa: ASYNC110 - a batch may have been running
                    await asyncio.sleep(0.3)
            assert await server.wait() == 0
            assert time.monotonic() - asked < 30
            assert number_of_keys(connection) == left > 0
        assert "purge failed" not in server.said
        assert "Traceback" not in server.said


def add_expired_keys(connection: sqlite3.Connection, number: int) -> None:
    with connection:
        connection.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            " INSERT INTO idempotency_keys (caller, operation, key, fingerprint, answer, expires_at)"
            " SELECT lower(hex(randomblob(16))), 'POST /items', n, x'00', x'00', 0 FROM numbers",
            [number],
        )


def number_of_keys(connection: sqlite3.Connection) -> int:
    """Return how many keys there are, without the lease."""
    [[number]] = connection.execute("SELECT count(*) FROM idempotency_keys WHERE operation = 'POST /items'")
    return int(number)


class FailingStore(MemoryStore):
    """Fails in its first purges with these errors."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = [*errors]

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().purge(at, limit)


async def test_a_failed_purge_is_logged_and_the_next_one_tries_again() -> None:
    store, metrics = FailingStore(Unavailable("the store is down"), LookupError("a bug")), Metrics()
    await store.stream.write(expired_keys(3))
    purge = PurgeInTurn(
        Transact(store.begin, utc_now), PurgeExpired(store, utc_now), utc_now, timedelta(milliseconds=10)
    )
    with structlog.testing.capture_logs() as logged:
        task = asyncio.create_task(purge_repeatedly(purge, metrics))
        async with asyncio.timeout(30):
            while metrics.registry.get_sample_value("handover_purge_seconds_count") != 1:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.001)
        task.cancel()
    assert metrics.registry.get_sample_value("handover_purge_failures_total") == 2
    assert metrics.registry.get_sample_value("handover_purged_records_total", {"kind": "keys"}) == 3
    assert logged == [
        {"event": "purge failed", "log_level": "warning", "reason": "the store is down"},
        {"event": "purge failed", "log_level": "error", "exc_info": True},
        {"event": "purged", "log_level": "info", "records": 3},
    ]
