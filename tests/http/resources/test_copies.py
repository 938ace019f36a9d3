"""A copy of a store gives the same answers as the store: from each engine to SQLite, and from there to the engine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from pydantic import SecretStr

from application.store import Store
from application.use_cases.copy_store import CopyStore
from infrastructure.container import Container, Settings
from infrastructure.persistence import sqlalchemy
from interfaces.certification.database import Database, NewDatabase
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import PASSWORD, Person, app_of, client_of, container_on, refresh, sign_in
from tests.support.engines import selected, settings_for

pytestmark = pytest.mark.parametrize("engine", selected(), indirect=True)  # with the second SQL adapter


@pytest.fixture
def settings(database: Database) -> Settings:
    """The settings of the servers of all stores: with one secret, so that access tokens are valid on each."""
    return database.settings.model_copy(update={"secret_key": SecretStr("a secret of the tests " * 2)})


@pytest.fixture
def container(settings: Settings, database: Database, clock: SetClock) -> Container:
    return container_on(settings, database.store, clock)


@pytest.fixture
async def copies(new_database: NewDatabase, tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Two empty stores: one on SQLite, and one on the engine of the test."""
    async with AsyncExitStack() as closing:
        on_sqlite = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/copy.db"))
        await on_sqlite.open()
        closing.push_async_callback(on_sqlite.close)
        on_engine = (await closing.enter_async_context(new_database())).store
        for store in (on_sqlite, on_engine):
            await store.upgrade()
        yield [on_sqlite, on_engine]


def seen(response: Response) -> tuple[int, dict[str, str], bytes]:
    """What a client sees of a response, except for what belongs to one request."""
    own = {"x-request-id", "idempotency-replayed"}
    return response.status_code, {k: v for k, v in response.headers.items() if k not in own}, response.content


async def test_a_copy_gives_the_same_answers(
    *,
    settings: Settings,
    store: Store,
    copies: list[Store],
    clock: SetClock,
    http: AsyncClient,
    ada: Person,
    bob: Person,
    eve: Person,
) -> None:
    made: list[Response] = []
    for number in range(5):
        body = {"name": f"Lamp {number % 2} ✓", "price": 10 - number}
        made.append(await ada.post("/items", json=body, headers={"Idempotency-Key": f"item {number}"}))
        clock.move(milliseconds=1)
    item = made[0].json()
    first_transfer = await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"1"')
    assert (await bob.hands_over(item, ada)).status_code == 200
    for status in ("pending", "completed"):
        assert (await ada.post("/tasks", json={"title": "Task", "status": status})).status_code == 201
    tokens, spent = (await sign_in(http, "eve")).json(), (await sign_in(http, "eve")).json()
    successor = (await refresh(http, spent)).json()
    for _ in range(10):
        assert_problem(await sign_in(http, "mallory"), 401, "wrong-credentials")

    paths = ["/users", "/users/me", f"/users/{bob.id}/items", "/items?sort=price", f"/items/{item['id']}"]
    paths += [
        f"/items/{item['id']}/transfers",
        "/tasks?sort=-created_at",
        "/tasks/by-status/completed",
        "/tasks/recent",
    ]
    for listing in ("/items?limit=2", "/items?sort=-name&limit=2", "/users?limit=1", "/tasks?limit=1"):
        page = await ada.get(listing)
        paths.append(page.links["next"]["url"])
    answers = {path: seen(await ada.get(path)) for path in paths}
    assert all(status == 200 for status, _, _ in answers.values())

    for source, target in zip([store, copies[0]], copies, strict=True):
        await CopyStore(source, target)("source")

    for copy in copies:
        async with client_of(app_of(container_on(settings, copy, clock))) as there:
            on_copy = {who.user.username: Person(who.user, there, who.token) for who in (ada, bob)}
            for path in paths:
                assert seen(await on_copy["ada"].get(path)) == answers[path], path
            replays: list[tuple[Response, Any]] = [
                (first_transfer, on_copy["ada"].hands_over(item, bob, Idempotency_Key="k", If_Match='"1"'))
            ]
            for number, first in enumerate(made):
                body = {"name": f"Lamp {number % 2} ✓", "price": 10 - number}
                replays.append(
                    (first, on_copy["ada"].post("/items", json=body, headers={"Idempotency-Key": f"item {number}"}))
                )
            for first, again in replays:
                replayed = await again
                assert replayed.headers["idempotency-replayed"] == "true"
                assert seen(replayed) == seen(first)
            assert_problem(await sign_in(there, "mallory"), 429, "too-many-attempts")
            assert (await sign_in(there, "eve", PASSWORD)).status_code == 200
            assert (await refresh(there, tokens)).status_code == 200
            assert_problem(await refresh(there, spent), 401, "invalid-refresh-token")
            assert_problem(await refresh(there, successor), 401, "invalid-refresh-token")
