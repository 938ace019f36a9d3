"""The app on each engine, called in this process, and people who have signed in to it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from application.store import Store
from infrastructure.container import Container
from infrastructure.security.passwords import Argon2Passwords
from interfaces.certification.comparison import effort  # noqa: F401 - importing it fixes the seeds
from interfaces.certification.database import Database
from interfaces.certification.parity.recorder import Recorder
from interfaces.testing.builders import a_user
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import PASSWORD, NewPerson, Person, app_of, client_of, container_on
from tests.http.support.secrets import Secrets, watched
from tests.support.engines import ENGINES


@pytest.fixture(scope="session", autouse=True)
def secrets() -> Iterator[Secrets]:
    """No log holds a password, a token or a hash that a test has used; this is checked once, at the end of the run."""
    with watched() as secrets:
        yield secrets
        assert secrets.leaked() == []


@pytest.fixture
def container(database: Database, clock: SetClock) -> Container:
    return container_on(database.settings, database.store, clock)


@pytest.fixture
def app(container: Container) -> FastAPI:
    return app_of(container)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Whatever a test asks, the document has to have said that this can be the answer."""
    recorder = Recorder(app)
    async with client_of(recorder) as client:
        yield client
    for exchange in recorder.exchanges:
        assert exchange.is_declared(), exchange


@pytest.fixture
async def second_http(database: Database, engine: str, clock: SetClock) -> AsyncIterator[AsyncClient]:
    """Another worker, with connections of its own where the engine has any."""
    async with AsyncExitStack() as closing:
        store = database.store
        if engine != "memory":
            store = ENGINES[engine].adapter(database.settings)
            await store.open()
            closing.push_async_callback(store.close)
        yield await closing.enter_async_context(client_of(app_of(container_on(database.settings, store, clock))))


@pytest.fixture
def new_person(store: Store, container: Container, clock: SetClock, http: AsyncClient) -> NewPerson:
    """Past sign-up and sign-in, which take their time on purpose."""

    async def new(**fields: Any) -> Person:
        user = a_user(**fields)
        async with store.begin() as uow:
            await uow.users.add(user)
            await uow.commit()
        return Person(user, http, container.tokens().issue(user.id, clock()).token)

    return new


@pytest.fixture
async def ada(new_person: NewPerson) -> Person:
    return await new_person(username="ada", email="ada@example.org")


@pytest.fixture
async def bob(new_person: NewPerson) -> Person:
    return await new_person(username="bob", email="bob@example.org")


@pytest.fixture
def deactivate(store: Store) -> Callable[[Person], Awaitable[None]]:
    async def deactivated(person: Person) -> None:
        async with store.begin() as uow:
            user = await uow.users.get_for_update(person.user.id)
            user.deactivate()
            await uow.users.save(user)
            await uow.commit()

    return deactivated


@pytest.fixture(scope="session")
async def password_hash() -> str:
    """Of PASSWORD, as it is really made."""
    return await Argon2Passwords().hash(PASSWORD)


@pytest.fixture
async def eve(new_person: NewPerson, password_hash: str) -> Person:
    """Who can sign in, with PASSWORD."""
    return await new_person(username="eve", email="eve@example.org", password_hash=password_hash)
