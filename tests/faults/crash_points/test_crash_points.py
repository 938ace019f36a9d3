"""A use case that fails or is killed at any point has its whole effect or none.

The points are those before and after each statement that it really sends. It is also killed when a statement that
commits was sent and its answer not seen. By default only the transfer with an idempotency key is tried; FAULTS=full
tries every use case that writes. A route that takes a key is then killed with one. With SQLModel only the transfer is
killed, since all of them end with the same transaction.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from application.store import Store
from application.use_cases.check_store import CheckStore
from interfaces.certification.database import Database
from interfaces.testing.clock_and_ids import SetClock
from tests.faults.checks import FULL
from tests.faults.crash_points import processes
from tests.faults.crash_points.driver_calls import Observer, Point, fail, observable_drivers
from tests.faults.crash_points.writes import WRITES, State, fill, run, state_of, without_attempts
from tests.support import engines
from tests.support.engines import RunningEngines

STORES = [name for name, (engine, _) in processes.STORES.items() if engine in engines.selected()]
CALLS = [(name, with_key) for name, write in WRITES.items() for with_key in (False, True)[: 1 + write.takes_key]]
TRANSFER = ("transfer item", True)
TRIED = CALLS if FULL else [TRANSFER]
KILLED = [(store, *TRANSFER) for store in STORES if store in ("sqlite", "postgresql", "mongodb")]
if FULL:
    durable = [store for store in STORES if store != "memory"]
    with_key_if_any = [(name, write.takes_key) for name, write in WRITES.items()]
    KILLED = [
        (store, *call) for store in durable for call in with_key_if_any if call == TRANSFER or "sqlmodel" not in store
    ]
COMMITS = ("COMMIT", "commitTransaction", "WITH")
"""How a statement begins that commits; the last is one that is a transaction by itself."""


@dataclass
class World:
    """A store whose drivers can be observed, and what empties its database.

    `outside` is a store on the same database that is quick: that of SQLAlchemy's Core where it has the same schema.
    """

    name: str
    store: Store
    outside: Store
    database: Database
    sound: list[State] = field(default_factory=list)

    async def begin_anew(self) -> None:
        if self.name == "memory":
            self.store = self.outside = processes.STORES["memory"][1](self.database.settings)
        else:
            await self.end_transactions_of_killed_clients()
            await self.database.empty()
        await fill(self.outside)

    async def end_transactions_of_killed_clients(self) -> None:
        """MongoDB itself does so after the seconds of its transactionLifetimeLimitSeconds."""
        if self.name == "mongodb":
            client: AsyncMongoClient[dict[str, Any]]
            async with AsyncMongoClient(self.database.settings.database_url) as client:
                await client.admin.command({"killAllSessions": []})

    async def look(self) -> State:
        """What is there now, in which `handover doctor` finds nothing. It is asked once about the same records."""
        state = await state_of(self.outside)
        if state not in self.sound:
            diagnosis = await CheckStore(self.outside, SetClock())()
            assert not [str(finding) for finding in diagnosis.findings if finding.kind != "setting"]
            self.sound.append(state)
        return state


@pytest.fixture(scope="module", autouse=True)
def _observable() -> Iterator[None]:
    with observable_drivers():
        yield


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest, running_engines: RunningEngines) -> AsyncIterator[World]:
    _, database = await running_engines.get(processes.STORES[request.param][0])
    url = database.settings.database_url
    async with (
        processes.opened(request.param, url) as store,
        processes.opened(request.param.removeprefix("sqlmodel-"), url) as outside,
    ):
        yield World(request.param, store, outside, database)
    await database.empty()


@dataclass
class Recorded:
    """What is seen before and after a run without a fault, and the points that it passes."""

    before: State
    after: State
    points: list[Point]


async def record(write: str, with_key: bool, world: World) -> Recorded:
    await world.begin_anew()
    before = await world.look()
    observer = Observer()
    await processes.observe(observer, write, with_key, world.store)
    after = await world.look()
    assert after != before
    return Recorded(before, after, observer.passed)


async def check_after_crash(point: Point, write: str, with_key: bool, world: World, recorded: Recorded) -> State:
    """Return what is there after the crash; then the same request succeeds, and has taken effect once."""
    state = await world.look()
    if WRITES[write].commits == 1:
        assert state in (recorded.before, recorded.after), f"half of it was stored {point}"
    if with_key or without_attempts(state) == without_attempts(recorded.before):
        await world.end_transactions_of_killed_clients()
        await run(write, with_key, world.store, ids_from=1_000 if state == recorded.after else 0)
        assert without_attempts(await world.look()) == without_attempts(recorded.after), point
    return state


def check_order(states: list[State], write: str, recorded: Recorded) -> None:
    """From point to point, what is there changes once for each transaction, and never back."""
    changes = [state for state, before in zip(states, [recorded.before, *states], strict=False) if state != before]
    commits = WRITES[write].commits
    assert commits is None or len(changes) == commits
    assert states[0] == recorded.before
    assert states[-1] == recorded.after


@pytest.mark.parametrize(("write", "with_key"), TRIED)
async def test_an_exception_at_any_point_leaves_all_or_nothing(write: str, with_key: bool, world: World) -> None:
    recorded = await record(write, with_key, world)
    states = []
    for point in recorded.points:
        if point.moment == "sent":
            continue  # the driver could not tell what an answer belongs to
        await world.begin_anew()
        observer = Observer(point, fail)
        with pytest.raises(Exception):  # noqa: B017, PT011 - adapters may replace it by one of theirs
            await processes.observe(observer, write, with_key, world.store)
        assert observer.has_crashed, point
        states.append(await check_after_crash(point, write, with_key, world, recorded))
    check_order(states, write, recorded)


@pytest.mark.parametrize(("world", "write", "with_key"), KILLED, indirect=["world"])
async def test_a_kill_at_any_point_leaves_all_or_nothing(write: str, with_key: bool, world: World) -> None:
    recorded = await record(write, with_key, world)
    states = []
    for point in recorded.points:
        if point.moment == "sent" and not point.statement.startswith(COMMITS):
            continue
        await world.begin_anew()
        ended = await processes.kill_at(point, world.name, world.database.settings.database_url, write, with_key)
        assert ended == -9, point
        state = await check_after_crash(point, write, with_key, world, recorded)
        if point.moment != "sent":
            states.append(state)
    check_order(states, write, recorded)
