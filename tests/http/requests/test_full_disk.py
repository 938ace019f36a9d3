"""A SQLite file that cannot grow: writes are refused, nothing is lost, and readiness tells.

SQLite itself refuses, because its connection gets a limit of pages. On a full disk it raises the same error.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from httpx2 import AsyncClient

from application.store import Store
from infrastructure.persistence.sqlalchemy import SqlStore
from interfaces.certification.parity.problems import assert_problem
from tests.http.support.client import Person
from tests.support.engines import selected

pytestmark = pytest.mark.parametrize("engine", [name for name in ("sqlite",) if name in selected()], indirect=True)

LimitPages = Callable[[int], Awaitable[None]]


@pytest.fixture
async def limit_pages(store: Store) -> AsyncIterator[LimitPages]:
    """Set how many pages the file may have; it never has fewer than it has now."""
    assert isinstance(store, SqlStore)
    writers = store.database.writers.engine

    async def limit_pages(pages: int) -> None:
        async with writers.connect() as connection:  # the only one that writes
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    yield limit_pages
    await limit_pages(2**30)


async def test_readiness_tells_that_there_is_no_space(http: AsyncClient, ada: Person, limit_pages: LimitPages) -> None:
    kept = [await ada.registers()]
    await limit_pages(1)
    while True:
        answer = await ada.post("/items", json={"name": "Book", "price": 1, "description": "x" * 2000})
        if answer.status_code != 201:
            break
        kept.append(answer.json())
    assert_problem(answer, 503, "store-unavailable")
    assert "no disk space" in answer.json()["detail"]

    not_ready = await http.get("/health/ready")
    assert_problem(not_ready, 503, "store-unavailable")
    assert "disk space" in not_ready.json()["detail"]
    assert "becomes ready by itself" in not_ready.json()["detail"]
    assert (await http.get("/health/live")).status_code == 200
    assert [(await ada.get(f"/items/{item['id']}")).json() for item in kept] == kept

    await limit_pages(2**30)
    assert (await http.get("/health/ready")).json() == {"status": "ready"}
    await ada.registers(description="x" * 2000)
