"""Handover on three PostgreSQL servers that Patroni replaces by itself, reached through HAProxy."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.programs import Etcd, HAProxy, Patroni
from tests.faults.checks import ALLOWED, check
from tests.support.clients.writers import writing
from tests.support.served import served

SECONDS_TO_SETTLE = 120
MEMBERS = 3


async def roles(members: Sequence[Patroni]) -> list[str]:
    """The role of each member that runs, with that of the synchronous standby named so."""
    states = [await asyncio.to_thread(member.state) for member in members]
    return [
        "sync_standby" if state.get("sync_standby") else str(state.get("role"))
        for state in states
        if state.get("state") == "running"
    ]


async def settled(members: Sequence[Patroni]) -> None:
    """Wait until there are a primary and a synchronous standby, and all members run."""
    wanted = ["master", *["replica"] * (len(members) - 2), "sync_standby"]
    try:
        async with asyncio.timeout(SECONDS_TO_SETTLE):
            while (now := sorted(await roles(members))) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"not settled: {now}")


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[list[Patroni], HAProxy]]:
    with ExitStack() as ends:
        etcd = ends.enter_context(Etcd().running())
        members = [Patroni(f"member{number}", etcd) for number in range(MEMBERS)]
        for member in members:
            ends.enter_context(member.running())
        haproxy = ends.enter_context(HAProxy(members).running())
        await settled(members)
        yield members, haproxy


async def test_the_primary_and_its_patroni_are_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with cluster() as (members, haproxy):
        settings = {"DATABASE_URL": haproxy.url, "WORKERS": "2", "LOG_LEVEL": "error"}
        async with served(tmp_path, **settings) as server:
            async with writing(server.url) as writers:
                for number in (1, 2):
                    await writers.more(200)
                    [primary] = [member for member in members if member.state().get("role") == "master"]
                    killed = time.monotonic()
                    await asyncio.to_thread(primary.kill)
                    await writers.each()
                    record_property(f"gap {number}", f"{writers.longest_pause(killed):.1f} s")
                    await asyncio.to_thread(primary.start)
                    await settled(members)
                await writers.each()
            assert {*writers.refused} <= ALLOWED
            await check(writers, server, tmp_path, DATABASE_URL=haproxy.url)
            assert await server.stop() == 0
            assert "Traceback" not in server.said
