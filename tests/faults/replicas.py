"""Servers that replicate one another, each as tests/support/servers.py starts them: what one loses, another has."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from pymongo import MongoClient

from tests.support.servers import Mongo, Postgres, postgres

# PostgreSQL


class Standby(Postgres):
    """A copy of a running primary, which follows it until it is promoted."""

    def __init__(self, primary: Postgres, *settings: str) -> None:
        super().__init__(settings)
        self.url = ""  # never a server that runs already
        self._primary = primary

    def _creation(self, programs: Path, data: Path) -> Sequence[str | Path]:
        source = f"{self._primary.url}?application_name=standby"
        return [programs / "pg_basebackup", "-D", data, "-d", source, "-R", "-X", "stream", "-c", "fast"]

    async def promote(self) -> None:
        """Make it the primary; return when it takes writes."""
        connection = await asyncpg.connect(self.url)
        try:
            assert await connection.fetchval("SELECT pg_promote()")
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class Pair:
    primary: Postgres
    standby: Standby

    @property
    def url(self) -> str:
        """The standby is named first, so that the primary is not found by chance."""
        return f"postgresql://postgres@127.0.0.1:{self.standby.port},127.0.0.1:{self.primary.port}/postgres"

    async def give_up_waiting(self) -> None:
        """Cancel each statement of the primary that waits for the standby; its changes are visible from then on."""
        connection = await asyncpg.connect(self.primary.url)
        try:
            await connection.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        finally:
            await connection.close()

    async def wait_for_standby(self, *, synchronous: bool) -> None:
        """Return when the standby follows; from then on commits of the primary wait for it if that is wanted.

        The standby has no standby of its own, so that its commits wait for nobody once it is promoted.
        """
        connection = await asyncpg.connect(self.primary.url)
        try:
            if synchronous:
                await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
                await connection.execute("SELECT pg_reload_conf()")
            wanted = "sync" if synchronous else "async"
            async with asyncio.timeout(60):
                while await connection.fetchval("SELECT sync_state FROM pg_stat_replication") != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()


@contextmanager
def primary_and_standby(*settings: str) -> Iterator[Pair]:
    with postgres(*settings) as primary, Standby(primary, *settings).running() as standby:
        yield Pair(primary, standby)


# MongoDB


FAIL_POINTS = ("--setParameter", "enableTestCommands=1")


class Member(Mongo):
    """One server of a replica set of several. It is ready when it answers."""

    def __init__(self, *options: str) -> None:
        super().__init__(options)
        self.url = ""  # never a server that runs already

    def _ready(self) -> bool:
        return bool(self.command("hello"))

    def client(self) -> MongoClient[dict[str, Any]]:
        """Return a client of this server alone."""
        return MongoClient(f"mongodb://127.0.0.1:{self.port}/?directConnection=true")


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    members: Sequence[Member]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/handover?replicaSet=rs0"

    def initiate(self) -> None:
        """Make a set of the members; return when there is a primary that takes writes.

        A primary that is gone is replaced after two seconds; with the default settings it takes ten.
        """
        hosts = [{"_id": n, "host": f"127.0.0.1:{member.port}"} for n, member in enumerate(self.members)]
        timeouts = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 500, "heartbeatTimeoutSecs": 1}
        answer = self.members[0].command("replSetInitiate", {"_id": "rs0", "members": hosts, "settings": timeouts})
        assert answer.get("ok")
        self._wait_for(1, "isWritablePrimary")

    def primary(self) -> Member:
        """The member that takes writes; wait until there is one."""
        return self._wait_for(1, "isWritablePrimary")[0]

    def wait_for_secondaries(self) -> None:
        """Return when all but one follow, so that a majority remains if the primary is killed."""
        self._wait_for(len(self.members) - 1, "secondary")

    @contextmanager
    def without_replication(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """Let the secondaries receive nothing during the block; yield a client of the primary, which stays primary.

        The members must have been started with FAIL_POINTS.
        """
        primary = self.primary()
        secondaries = [member for member in self.members if member is not primary]
        with ExitStack() as ends:
            for member in secondaries:
                admin = ends.enter_context(member.client()).admin
                admin.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
                ends.callback(admin.command, "configureFailPoint", "stopReplProducer", mode="off")
            yield ends.enter_context(primary.client())

    def _wait_for(self, count: int, state: str) -> list[Member]:
        deadline = time.monotonic() + 60
        while len(found := [member for member in self.members if member.command("hello").get(state)]) < count:
            assert time.monotonic() < deadline, f"fewer than {count} are {state}"
            time.sleep(0.05)
        return found


@contextmanager
def replica_set(*options: str) -> Iterator[ReplicaSet]:
    """A replica set of three, started with these options in addition."""
    with ExitStack() as ends:
        members = ReplicaSet([ends.enter_context(Member(*options).running()) for _ in range(3)])
        members.initiate()
        members.wait_for_secondaries()
        yield members
