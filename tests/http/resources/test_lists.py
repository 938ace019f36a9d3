"""What all lists share: whole walks in every order, cursors that belong to one list, and what a count costs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from infrastructure.persistence.sqlalchemy.engines.database import Database as SqlDatabase
from infrastructure.persistence.sqlmodel import SqlModelStore
from interfaces.certification.database import Database
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import Person, assert_faults
from tests.support.statements import statements_of

ORDERS = ["created_at", "-created_at", "price", "-price", "name", "-name"]


@pytest.fixture
async def items(ada: Person, clock: SetClock) -> list[dict[str, Any]]:
    """With ties in everything but their ids."""
    made = []
    for number in range(12):
        made.append(await ada.registers(name=f"{number % 3} 🪔", price=number // 4))
        clock.move(milliseconds=number % 2)
    return made


def in_order(items: list[dict[str, Any]], sort: str) -> list[str]:
    """Code points are in the order of bytes in UTF-8, and ids in that of their text."""
    field = sort.removeprefix("-")
    return [item["id"] for item in sorted(items, key=lambda item: (item[field], item["id"]), reverse=sort[0] == "-")]


async def walk(person: Person, address: str) -> AsyncIterator[dict[str, Any]]:
    following = address
    while following:
        response = await person.get(following)
        assert response.status_code == 200, response.text
        for row in response.json()["items"]:
            yield row
        following = response.links["next"]["url"] if "next" in response.links else ""


@pytest.mark.parametrize("sort", ORDERS)
async def test_a_walk_is_the_whole_list_in_order(ada: Person, items: list[dict[str, Any]], sort: str) -> None:
    for limit in (1, 5, 12):
        walked = [row["id"] async for row in walk(ada, f"/items?sort={sort}&limit={limit}")]
        assert walked == in_order(items, sort)
    skipped = [row["id"] for row in (await ada.get(f"/items?sort={sort}&skip=5&limit=4")).json()["items"]]
    assert skipped == in_order(items, sort)[5:9]


@pytest.mark.parametrize("sort", ORDERS)
async def test_a_walk_while_rows_come_and_go(ada: Person, items: list[dict[str, Any]], sort: str) -> None:
    gone, walked = set(), []
    async for row in walk(ada, f"/items?sort={sort}&limit=3"):
        walked.append(row["id"])
        if len(walked) in {3, 6, 9}:
            await ada.registers(name="9", price=len(walked))
            victim = walked[-1] if len(walked) == 6 else in_order(items, sort)[-len(walked)]
            if (await ada.call("DELETE", f"/items/{victim}")).status_code == 204:
                gone.add(victim)
    stayed = [id_ for id_ in in_order(items, sort) if id_ not in gone]
    assert len(gone) >= 2
    assert [id_ for id_ in walked if id_ in stayed] == stayed
    assert len(set(walked)) == len(walked)


async def test_a_cursor_belongs_to_its_list(ada: Person, bob: Person, items: list[dict[str, Any]]) -> None:
    for number in range(3):
        await ada.post("/tasks", json={"title": str(number)})
        await bob.post("/tasks", json={"title": str(number)})

    async def cursor_of(address: str) -> str:
        cursor: str = (await ada.get(address)).json()["next_cursor"]
        return cursor

    cursor = await cursor_of("/items?sort=price&min_price=1&limit=1")
    same = await ada.get(f"/items?sort=price&min_price=1.00&limit=2&cursor={cursor}")
    assert same.status_code == 200
    for other in (
        "/items?sort=-price&min_price=1",
        "/items?sort=name&min_price=1",
        "/items?min_price=1",
        "/items?sort=price",
        "/items?sort=price&min_price=1.01",
        "/items?sort=price&max_price=1",
        f"/items?sort=price&min_price=1&owner_id={ada.id}",
        f"/users/{ada.id}/items?sort=price&min_price=1",
        "/users?x=1",
        "/tasks?x=1",
    ):
        assert_faults(await ada.get(f"{other}&cursor={cursor}"), "/cursor")
    own = await cursor_of("/tasks?limit=1")
    assert (await ada.get(f"/tasks?cursor={own}")).status_code == 200
    assert_faults(await bob.get(f"/tasks?cursor={own}"), "/cursor")
    assert_faults(await ada.get(f"/tasks?status=pending&cursor={own}"), "/cursor")
    assert_faults(await ada.get(f"/tasks/recent?cursor={own}"), "/cursor")


CountsIssued = Callable[[Awaitable[Any]], Awaitable[int | None]]


@pytest.fixture
def counts_issued(engine: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> CountsIssued:
    """How many of the statements that the store is sent meanwhile count; None where no statements are sent."""

    async def of_sql(reading: Awaitable[Any]) -> int:
        sent: list[str] = []
        compiled = SqlDatabase.compiled

        def noting(self: SqlDatabase, statement: Any) -> Any:
            found = compiled(self, statement)
            sent.append(found.sql)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(SqlDatabase, "compiled", noting)
            await reading
        assert len(sent) == 1
        return sum("count(" in sql for sql in sent)

    async def of_sqlmodel(reading: Awaitable[Any]) -> int:
        assert isinstance(database.store, SqlModelStore)
        with statements_of(database.store) as sent:
            await reading
        assert sent
        return sum("count(" in sql for sql in sent)

    async def of_mongodb(reading: Awaitable[Any]) -> int:
        client: AsyncMongoClient[dict[str, Any]]
        async with AsyncMongoClient(database.settings.database_url) as client:
            own: AsyncDatabase[dict[str, Any]] = client.get_default_database()
            await own.command("profile", 2)
            try:
                await reading
            finally:
                await own.command("profile", 0)
            sent = await own["system.profile"].find({"ns": {"$ne": f"{own.name}.system.profile"}}).to_list()
            await own["system.profile"].drop()
        assert sent
        return sum("count" in str(one["command"]) for one in sent)

    async def of_memory(reading: Awaitable[Any]) -> None:
        await reading

    kinds = {"memory": of_memory, "mongodb": of_mongodb, "sqlite": of_sql, "postgresql": of_sql}
    return kinds.get(engine, of_sqlmodel)


@pytest.mark.parametrize("path", ["/items?", "/users?", "/tasks?", "/users/{ada}/items?", "/items/{item}/transfers?"])
async def test_a_count_that_is_not_wanted_is_not_paid_for(
    ada: Person, bob: Person, counts_issued: CountsIssued, path: str
) -> None:
    item = await ada.registers()
    await ada.registers()
    for here, there in ((ada, bob), (bob, ada)):
        await here.hands_over(item, there)
        await ada.post("/tasks", json={"title": "Dust"})
    address = path.format(ada=ada.id, item=item["id"])

    async def reads(query: str, total: int | None) -> int | None:
        async def reading() -> None:
            page = (await ada.get(f"{address}limit=1&{query}")).json()
            assert (page["total"], page["total_exact"]) == (total, None if total is None else True)
            assert len(page["items"]) == 1

        return await counts_issued(reading())

    if not path.startswith("/items/{item}"):  # an item may know the number of its transfers, and MongoDB asks for it
        assert await reads("count=true", 2) != 0
    assert await reads("count=false", None) in {0, None}
    cursor = (await ada.get(f"{address}limit=1")).json()["next_cursor"]
    assert await reads(f"cursor={cursor}", None) in {0, None}
