"""On MongoDB a page is a piece of an index: shown by how the server plans the very statements that the readers send."""

import random
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from beanie import Document
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from application.paging import COUNT_LIMIT, Page, Position, Sort, Window
from application.readers import ItemFilter, TaskFilter
from application.store import Store
from domain.task import TaskStatus
from infrastructure.persistence.beanie.rows import document_of_item, document_of_task, document_of_user
from interfaces.testing.builders import NOON, a_task, a_user, an_item
from tests.support import engines
from tests.support.engines import RunningEngines

SELECTED = [name for name in ("mongodb",) if name in engines.selected()]

ROWS = 21_000
LIMIT = 10
NOT_THE_STATEMENT = {"lsid", "$clusterTime", "$db", "$readPreference", "readConcern"}
choose = random.Random(9)
people = [a_user() for _ in range(8)]
ada = people[0]


@dataclass(frozen=True)
class Statement:
    """One that the server was sent, what it looked at for it, and its plan."""

    name: str
    keys: int
    documents: int
    stages: set[str]
    scans: set[tuple[str, str]]
    """Which indexes, in which direction."""


class Spy:
    def __init__(self, store: Store, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.store = store
        self.database = database

    async def statements(self, read: Awaitable[Page[Any]]) -> list[Statement]:
        await self.database.command("profile", 2)
        try:
            await read
        finally:
            await self.database.command("profile", 0)
        collections = [f"{self.database.name}.{name}" for name in ("users", "items", "tasks")]
        profile = self.database["system.profile"]
        sent = await profile.find({"ns": {"$in": collections}, "command.explain": None}).sort("ts").to_list()
        await profile.drop()
        return [await self._explained(profiled) for profiled in sent]

    async def _explained(self, profiled: Mapping[str, Any]) -> Statement:
        command = {name: value for name, value in profiled["command"].items() if name not in NOT_THE_STATEMENT}
        codec = self.database.codec_options
        answer = await self.database.command("explain", command, verbosity="queryPlanner", codec_options=codec)
        stages = [*unfolded(answer["queryPlanner"]["winningPlan"])]
        return Statement(
            name=next(iter(command)),
            keys=profiled["keysExamined"],
            documents=profiled["docsExamined"],
            stages={stage["stage"] for stage in stages},
            scans={(stage["indexName"], stage.get("direction", "forward")) for stage in stages if "indexName" in stage},
        )


def unfolded(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    return [plan, *(stage for each in inner for stage in unfolded(each))]


@pytest.fixture(scope="module", params=SELECTED)
async def spy(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Spy]:
    """On a database with many rows, and ties in all that can be sorted by."""
    new_database, _ = await running_engines.get(request.param)
    async with new_database() as made:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            made.settings.database_url, uuidRepresentation="standard", datetime_conversion="DATETIME_AUTO"
        )
        async with client:
            database = client.get_default_database()
            for name, documents in (("users", some_users()), ("items", some_items()), ("tasks", some_tasks())):
                await database[name].insert_many(document.model_dump(by_alias=True) for document in documents)
            await made.store.upgrade()  # now, since indexes are quicker made than kept
            yield Spy(made.store, database)


def some_users() -> Iterator[Document]:
    for user in (*people, *(a_user() for _ in range(ROWS // 10))):
        yield document_of_user(user)


def some_items() -> Iterator[Document]:
    for _ in range(ROWS):
        item = an_item(
            choose.choice(people),
            name=f"Lamp {choose.randrange(1_000)}",
            price=Decimal(choose.randrange(2_000)).scaleb(-2),
            created_at=some_time(),
        )
        yield document_of_item(item, "somebody")


def some_tasks() -> Iterator[Document]:
    for _ in range(ROWS):
        yield document_of_task(
            a_task(
                choose.choice(people[:2]),
                title=f"Dust {choose.randrange(1_000)}",
                status=choose.choice([*TaskStatus]),
                created_at=some_time(),
            )
        )


def some_time() -> datetime:
    return NOON + timedelta(milliseconds=choose.randrange(ROWS // 10))


def index(collection: str, *names: str) -> str:
    """Its name: fields that are equal, then the one that is sorted by."""
    return "_id_" if names == ("id",) else "_".join([collection, *names])


def expect_a_piece_of(name: str, statement: Statement, sort: Sort[Any], window: Window) -> None:
    assert statement.name == "find"
    assert statement.scans == {(name, "backward" if sort.descending else "forward")}
    assert statement.stages <= {"IXSCAN", "FETCH", "LIMIT", "SORT_MERGE", "SUBPLAN"}
    assert statement.documents <= statement.keys <= 4 * (window.limit + 1)


def from_the_middle(position: Position) -> dict[str, Window]:
    return {"first": Window(LIMIT, count=False), "after": Window(LIMIT, after=position, count=False)}


every_part = pytest.mark.parametrize("part", ["first", "after"])
every_item_sort = pytest.mark.parametrize(
    "sort", [Sort(by, down) for by, down in product(("id", "created_at", "price", "name"), (False, True))], ids=str
)
every_task_sort = pytest.mark.parametrize(
    "sort", [Sort(by, down) for by, down in product(("id", "created_at", "title"), (False, True))], ids=str
)
A_MIDDLE_ITEM = an_item(ada, name="Lamp 5", price=Decimal("10.00"), created_at=NOON + timedelta(seconds=1))
A_MIDDLE_TASK = a_task(ada, title="Dust 5", created_at=NOON + timedelta(seconds=1))
SOME_PRICES: dict[str, Any] = {"min_price": Decimal("2.00"), "max_price": Decimal("18.00")}


@every_part
@every_item_sort
@pytest.mark.parametrize("prices", [{}, SOME_PRICES], ids=["all-prices", "some-prices"])
@pytest.mark.parametrize("owned", [False, True], ids=["everybodys", "adas"])
async def test_items(spy: Spy, sort: Sort[Any], owned: bool, prices: dict[str, Any], part: str) -> None:
    place = Position(getattr(A_MIDDLE_ITEM, sort.by), (await a_middle_id(spy, "items")))
    window = from_the_middle(place if sort.by != "id" else Position(place.id, place.id))[part]
    filter = ItemFilter(owner_id=ada.id if owned else None, **prices)
    [statement] = await spy.statements(spy.store.items.page(filter, sort, window))
    by = "cents" if sort.by == "price" else sort.by
    expect_a_piece_of(index("items", *["owner_id"] * owned, by), statement, sort, window)


@every_part
@every_task_sort
@pytest.mark.parametrize("created_after", [None, NOON + timedelta(milliseconds=500)], ids=["ever", "of-late"])
@pytest.mark.parametrize("status", [None, TaskStatus.PENDING])
async def test_tasks(spy: Spy, sort: Sort[Any], status: TaskStatus | None, created_after: Any, part: str) -> None:
    place = Position(getattr(A_MIDDLE_TASK, sort.by), (await a_middle_id(spy, "tasks")))
    window = from_the_middle(place if sort.by != "id" else Position(place.id, place.id))[part]
    filter = TaskFilter(ada.id, status, created_after)
    [statement] = await spy.statements(spy.store.tasks.page(filter, sort, window))
    expect_a_piece_of(index("tasks", "owner_id", *["status"] * bool(status), sort.by), statement, sort, window)


@every_part
async def test_users(spy: Spy, part: str) -> None:
    middle = await a_middle_id(spy, "users")
    window = from_the_middle(Position(middle, middle))[part]
    [statement] = await spy.statements(spy.store.users.page(window))
    expect_a_piece_of("_id_", statement, Sort("id"), window)


async def a_middle_id(spy: Spy, collection: str) -> Any:
    rows = await spy.database[collection].find({}, {"_id": 1}, sort=[("_id", 1)], skip=1_000, limit=1).to_list()
    return rows[0]["_id"]


@every_part
async def test_few_prices_in_another_order_are_not_looked_for_in_the_whole_list(spy: Spy, part: str) -> None:
    filter = ItemFilter(min_price=Decimal("10.00"), max_price=Decimal("10.00"))
    window = from_the_middle(Position("Lamp 5", await a_middle_id(spy, "items")))[part]
    [statement] = await spy.statements(spy.store.items.page(filter, Sort("name"), window))
    assert statement.scans == {("items_cents", "forward")}
    assert statement.keys < ROWS / 20


@pytest.mark.parametrize(
    ("filter", "name"),
    [
        (ItemFilter(owner_id=ada.id), "items_owner_id_id"),
        (ItemFilter(**SOME_PRICES), "items_cents"),
        (ItemFilter(owner_id=ada.id, **SOME_PRICES), "items_owner_id_cents"),
    ],
    ids=["owner", "prices", "owner-prices"],
)
async def test_items_are_counted_by_keys_alone_and_not_all(spy: Spy, filter: ItemFilter, name: str) -> None:
    page, count = await spy.statements(spy.store.items.page(filter, Sort("name"), Window(LIMIT)))
    assert page.name == "find"
    assert (count.name, count.stages, count.scans) == ("count", {"COUNT", "COUNT_SCAN"}, {(name, "forward")})
    assert count.documents == 0
    assert count.keys <= COUNT_LIMIT + 1


@pytest.mark.parametrize(
    ("filter", "name"),
    [
        (TaskFilter(ada.id), "tasks_owner_id_id"),
        (TaskFilter(ada.id, TaskStatus.PENDING), "tasks_owner_id_status_id"),
        (TaskFilter(ada.id, None, NOON), "tasks_owner_id_created_at"),
        (TaskFilter(ada.id, TaskStatus.PENDING, NOON), "tasks_owner_id_status_created_at"),
    ],
    ids=["all", "status", "created_after", "both"],
)
async def test_tasks_are_counted_by_keys_alone(spy: Spy, filter: TaskFilter, name: str) -> None:
    _, count = await spy.statements(spy.store.tasks.page(filter, Sort("title"), Window(LIMIT)))
    assert (count.name, count.stages, count.scans) == ("count", {"COUNT", "COUNT_SCAN"}, {(name, "forward")})
    assert count.documents == 0


async def test_a_short_list_without_a_filter_is_counted_by_keys_alone(spy: Spy) -> None:
    page, estimate, count = await spy.statements(spy.store.users.page(Window(LIMIT)))
    assert page.documents == LIMIT + 1
    assert estimate.keys == estimate.documents == 0
    assert (count.stages, count.scans, count.documents) == ({"COUNT", "COUNT_SCAN"}, {("_id_", "forward")}, 0)


async def test_a_long_list_without_a_filter_is_not_counted(spy: Spy) -> None:
    page, estimate = await spy.statements(spy.store.items.page(ItemFilter(), Sort("name"), Window(LIMIT)))
    assert page.documents == LIMIT + 1
    assert estimate.keys == estimate.documents == 0


async def test_a_page_that_is_the_whole_list_needs_no_count(spy: Spy) -> None:
    filter = ItemFilter(max_price=Decimal("0.01"))
    [_] = await spy.statements(spy.store.items.page(filter, Sort("price"), Window(100)))


async def test_the_largest_page_is_one_answer(spy: Spy) -> None:
    [statement] = await spy.statements(spy.store.items.page(ItemFilter(), Sort("name"), Window(100, count=False)))
    assert statement.documents == 101
