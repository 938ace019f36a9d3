"""On the SQL engines a page is a piece of an index: shown by how they plan the very statements that the readers send,
and by how much they look at for it."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import product
from typing import Any, Protocol, TypeVar
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Connection

from application.paging import COUNT_LIMIT, Page, Position, Sort, Window
from application.readers import ItemFilter, OwnedItem, TaskFilter
from application.store import Store
from domain.item import ItemId
from domain.task import Task, TaskStatus
from domain.user import UserId
from infrastructure.persistence.sqlalchemy.engines.compiled import Parameters
from infrastructure.persistence.sqlalchemy.engines.database import PooledConnection
from infrastructure.persistence.sqlalchemy.engines.sqlite import path_in
from infrastructure.persistence.sqlalchemy.schema import exclusively
from infrastructure.persistence.sqlalchemy.tables import items, tasks, transfers
from tests.support import engines
from tests.support.engines import RunningEngines

T = TypeVar("T")
Read = Callable[[Window], Awaitable[Page[T]]]

SELECTED = [name for name in ("sqlite", "postgresql") if name in engines.selected()]

ROWS = 100_000
DEEP = 3_000
OWNER, HANDED_AROUND = UserId(UUID(int=2)), ItemId(UUID(int=1))
"""A fifth of the items and of the tasks are the owner's, right in the middle: others were at it before and after."""
LATE = datetime(2026, 1, 1, 15, tzinfo=UTC)
"""Three in ten of the owner's tasks were created later."""
LITTLE = {"sqlite": 1_000, "postgresql": 120}
"""What a page of ten takes: steps of SQLite's machine, blocks that PostgreSQL looks at."""
BOUNDED = {"sqlite": 15 * COUNT_LIMIT, "postgresql": 1_000}
"""What it takes with a count."""

# Times are in the order of the ids, prices and names are not.
FILL = """
    WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows}),
    numbers AS (
        SELECT n, CASE WHEN n BETWEEN 40000 AND 60000 THEN 2 ELSE 3 + n % 900 END AS owner FROM counted
    )
    INSERT INTO
"""
TABLES = {
    "users": "SELECT {id(n)}, 'u' || n || '@example.org', 'u' || n, '-', true, {at(n)}, 1 FROM numbers WHERE n < 1001",
    "items": "SELECT {id(n)}, 'Lamp ' || (n * 7919 % 99991), 'Brass', n * 7907 % 90001, {id(owner)},"
    " {at(n)}, 1, 0 FROM numbers",
    "tasks": "SELECT {id(n)}, {id(owner)}, 'Dust ' || (n * 7919 % 99991), NULL,"
    " CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'completed' ELSE 'cancelled' END, {at(n)}, 1 FROM numbers",
    "transfers": "SELECT {id(n)}, {id(1)}, n, {id(1)}, {id(2)}, n + 1, {at(n)} FROM numbers WHERE n < 20001",
}
FUNCTIONS = {
    "sqlite": {"id": "printf('%032x', {})", "at": "1767225600000 + 1000 * ({})"},
    "postgresql": {
        "id": "lpad(to_hex({}), 32, '0')::uuid",
        "at": "timestamptz '2026-01-01 00:00:00+00' + ({}) * interval '1 second'",
    },
}


@dataclass(frozen=True, slots=True)
class Plan:
    steps: list[str]
    """To the rows of the page: the name of an index that gives them in order, or whatever else has to be done."""
    work: int


class Explain(Protocol):
    async def __call__(self, sql: str, arguments: list[Any]) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Spy:
    engine: str
    store: Store
    sent: list[tuple[str, list[Any]]]
    explain: Explain

    async def plan(self, page: Awaitable[Page[Any]]) -> Plan:
        self.sent.clear()
        await page
        [statement] = self.sent
        return await self.explain(*statement)

    def index(self, table: str, *columns: str) -> str:
        key = {"sqlite": f"sqlite_autoindex_{table}_1", "postgresql": f"pk_{table}"}[self.engine]
        return key if columns == ("id",) else f"ix_{table}_{'_'.join(columns)}"


@pytest.fixture(scope="module", params=SELECTED)
async def spy(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Spy]:
    engine = request.param
    new_database, _ = await running_engines.get(engine)
    async with new_database() as made:
        await made.store.upgrade()
        await exclusively(made.settings, lambda connection: fill(connection, engine))
        sent: list[tuple[str, list[Any]]] = []
        rows = PooledConnection.fetch

        async def spied(connection: PooledConnection, statement: Any, parameters: Parameters) -> Any:
            compiled = connection.database.compiled(statement)
            sent.append((compiled.sql, compiled.arguments(parameters)))
            return await rows(connection, statement, parameters)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PooledConnection, "fetch", spied)
            if engine == "sqlite":
                file = sqlite3.connect(path_in(made.settings.database_url))
                yield Spy(engine, made.store, sent, lambda sql, arguments: explained_by_sqlite(file, sql, arguments))
                file.close()
            else:
                server = await asyncpg.connect(made.settings.database_url)
                await server.execute("VACUUM ANALYZE")
                yield Spy(
                    engine, made.store, sent, lambda sql, arguments: explained_by_postgresql(server, sql, arguments)
                )
                await server.close()


def fill(connection: Connection, engine: str) -> None:
    """Without indexes, since they are quicker made than kept."""
    indexes = [index for table in (items, tasks, transfers) for index in table.indexes]
    for index in indexes:
        index.drop(connection)
    for table, rows in TABLES.items():
        select = re.sub(r"\{(\w+)\((.*?)\)\}", lambda call: FUNCTIONS[engine][call[1]].format(call[2]), rows)
        connection.exec_driver_sql(f"{FILL.format(rows=ROWS)} {table} {select}")
    for index in indexes:
        index.create(connection)
    if engine == "postgresql":
        connection.commit()


async def explained_by_sqlite(file: sqlite3.Connection, sql: str, arguments: list[Any]) -> Plan:
    work = 0

    def step() -> None:
        nonlocal work
        work += 1

    tree = file.execute(f"EXPLAIN QUERY PLAN {sql}", arguments).fetchall()
    [page] = [node for node, _, _, what in tree if what in {"CO-ROUTINE page", "MATERIALIZE page"}]
    file.set_progress_handler(step, 1)
    file.execute(sql, arguments).fetchall()
    file.set_progress_handler(None, 1)
    steps = [what for _, parent, _, what in tree if parent == page]
    return Plan(
        [re.sub(r"^(?:SCAN|SEARCH) \w+ USING (?:COVERING )?INDEX (\w+).*", r"\1", step) for step in steps], work
    )


async def explained_by_postgresql(server: Any, sql: str, arguments: list[Any]) -> Plan:
    answer = await server.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", *arguments)
    top = json.loads(answer)[0]["Plan"]
    [page] = [node for node in unfolded(top) if node["Node Type"] == "Limit"]
    ordered = {"Index Scan", "Index Only Scan"}
    steps = [node["Index Name"] if node["Node Type"] in ordered else node["Node Type"] for node in unfolded(page)]
    return Plan(steps[1:], top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def unfolded(node: dict[str, Any]) -> list[dict[str, Any]]:
    """It and what it takes, except for the count."""
    inner = [] if node["Node Type"] == "Aggregate" else node.get("Plans", [])
    return [node, *(part for each in inner for part in unfolded(each))]


FEW = ItemFilter(min_price=Decimal("100.00"), max_price=Decimal("100.10"))
MANY = ItemFilter(min_price=Decimal("100.00"), max_price=Decimal("800.00"))
FILTERS = {
    "all": ItemFilter(),
    "at prices that many have": MANY,
    "the owner's": ItemFilter(OWNER),
    "the owner's at prices that many have": replace(MANY, owner_id=OWNER),
}
item_sorts = [Sort(by, down) for by, down in product(("id", "created_at", "price", "name"), (False, True))]
task_sorts = [Sort(by, down) for by, down in product(("id", "created_at", "title"), (False, True))]
every_item_sort = pytest.mark.parametrize("sort", item_sorts, ids=str)
every_task_sort = pytest.mark.parametrize("sort", task_sorts, ids=str)


async def windows(read: Read[T], place: Callable[[T], Position]) -> list[Window]:
    """The first page, and one from far down."""
    [row] = (await read(Window(1, skip=DEEP, count=False))).items
    return [Window(count=False), Window(after=place(row), count=False)]


async def expect_a_piece_of(index: str, spy: Spy, read: Read[T], place: Callable[[T], Position]) -> None:
    for window in await windows(read, place):
        plan = await spy.plan(read(window))
        assert plan.steps == [index]
        assert plan.work < LITTLE[spy.engine]


def item_index(spy: Spy, filter: ItemFilter, sort: Sort[Any]) -> str:
    owner = ["owner_id"] if filter.owner_id else []
    match sort.by:
        case "id":
            return spy.index("items", *owner, "id", "price") if owner else spy.index("items", "id")
        case "price":
            return spy.index("items", *owner, "price", "id")
        case by:
            return spy.index("items", *owner, by, "id", "price")


@every_item_sort
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
async def test_a_page_of_items(filter: ItemFilter, sort: Sort[Any], spy: Spy) -> None:
    def place(owned: OwnedItem) -> Position:
        return Position(getattr(owned.item, sort.by), owned.item.id)

    await expect_a_piece_of(
        item_index(spy, filter, sort), spy, lambda window: spy.store.items.page(filter, sort, window), place
    )


@every_item_sort
async def test_items_of_a_price_that_few_have(sort: Sort[Any], spy: Spy) -> None:
    """PostgreSQL knows that they are few. SQLite does not, and looks through an index that has the prices in it."""
    plan = await spy.plan(spy.store.items.page(FEW, sort, Window(count=False)))
    if spy.engine == "postgresql":
        assert plan.work < LITTLE[spy.engine]
    else:
        assert plan.steps == [item_index(spy, ItemFilter(), sort)]
        assert plan.work < 10 * ROWS


def task_index(spy: Spy, filter: TaskFilter, sort: Sort[Any]) -> str:
    equal = ["owner_id", "status"] if filter.status else ["owner_id"]
    match sort.by:
        case "id":
            return spy.index("tasks", *equal, "id", "created_at")
        case "created_at":
            return spy.index("tasks", *equal, "created_at", "id")
        case by:
            return spy.index("tasks", *equal, by, "id", "created_at")


@every_task_sort
@pytest.mark.parametrize("status", [None, TaskStatus.PENDING])
async def test_a_page_of_tasks(sort: Sort[Any], status: TaskStatus | None, spy: Spy) -> None:
    filter = TaskFilter(OWNER, status)

    def place(task: Task) -> Position:
        return Position(getattr(task, sort.by), task.id)

    await expect_a_piece_of(
        task_index(spy, filter, sort), spy, lambda window: spy.store.tasks.page(filter, sort, window), place
    )


@every_task_sort
@pytest.mark.parametrize("status", [None, TaskStatus.PENDING])
async def test_a_page_of_late_tasks(sort: Sort[Any], status: TaskStatus | None, spy: Spy) -> None:
    filter = TaskFilter(OWNER, status, LATE)
    plan = await spy.plan(spy.store.tasks.page(filter, sort, Window(count=False)))
    assert plan.steps == [task_index(spy, filter, sort)]
    assert plan.work < (LITTLE[spy.engine] if sort.by == "created_at" else BOUNDED[spy.engine])


async def test_a_page_of_users(spy: Spy) -> None:
    for window in (Window(count=False), Window(after=Position(OWNER, OWNER), count=False)):
        plan = await spy.plan(spy.store.users.page(window))
        assert plan.steps == [spy.index("users", "id")]
        assert plan.work < LITTLE[spy.engine]


async def test_a_page_of_a_history(spy: Spy) -> None:
    index = {"sqlite": "sqlite_autoindex_transfers_2", "postgresql": "uq_transfers_item_id_number"}[spy.engine]
    after = Position(DEEP, UUID(int=DEEP))
    for window in (Window(count=False), Window(after=after, count=False)):
        plan = await spy.plan(spy.store.transfers.page(HANDED_AROUND, window))
        assert plan.steps == [index]
        assert plan.work < LITTLE[spy.engine]


async def test_counting_stops(spy: Spy) -> None:
    lists: list[Read[Any]] = [
        spy.store.users.page,
        *(partial(spy.store.items.page, filter, Sort("name")) for filter in FILTERS.values()),
        partial(spy.store.tasks.page, TaskFilter(OWNER), Sort("title")),
        partial(spy.store.tasks.page, TaskFilter(OWNER, TaskStatus.PENDING), Sort("id")),
        partial(spy.store.transfers.page, HANDED_AROUND),
    ]
    for read in lists:
        assert (await spy.plan(read(Window()))).work < BOUNDED[spy.engine]
