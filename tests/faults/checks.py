"""What holds after a fault, and how thoroughly to look for it."""

import json
import os
from pathlib import Path

from tests.support.clients.writers import Writers
from tests.support.served import Served, handover

FULL = os.environ.get("FAULTS") == "full"
"""Set by `make test-faults`: as many rounds as the promise is about, instead of a few."""
WORKERS = "2" if FULL else "1"
ALLOWED = {"503 store-unavailable", "503 busy", "503 outcome-unknown"}
"""What a server may answer while its store is away; each asks for a retry."""
TEST_SERVERS = {"fsync"}
"""Settings of our PostgreSQL servers for tests that are not safe, to save time."""


async def check(writers: Writers, server: Served, folder: Path, **settings: str) -> None:
    """Each acknowledged transfer is in the history once and nothing else is, and `handover doctor` finds nothing."""
    async with server.client() as http:
        await writers.check(http)
    await check_store(folder, transfers=writers.done, **settings)


async def check_store(folder: Path, *, transfers: int, **settings: str) -> None:
    """`handover doctor` finds nothing, and so many transfers."""
    run = await handover("doctor", "--json", folder=folder, **settings)
    assert run.out, run.err
    said = json.loads(run.out)
    assert [finding for finding in said["findings"] if finding["id"] not in TEST_SERVERS] == []
    assert said["checked"]["transfers"] == transfers
