"""The app on each engine, called in this process, and people who have signed in to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from application.ports import Store
from infrastructure.container import Container, build
from interfaces.http.app import create_app, wire
from tests.builders import SetClock, a_user
from tests.engines import Database
from tests.http.client import NewPerson, Person
from tests.http.recorder import Recorder


@pytest.fixture
def container(database: Database, clock: SetClock) -> Container:
    container = build(database.settings)
    container.store.override(providers.Object(database.store))
    container.now.override(providers.Object(clock))
    return container


@pytest.fixture
def app(container: Container) -> FastAPI:
    """Wired by hand and not by its lifespan, which would close the store that all tests share."""
    app = create_app(container)
    wire(app, container)
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Whatever a test asks, the document has to have said that this can be the answer."""
    recorder = Recorder(app)
    async with AsyncClient(transport=ASGITransport(recorder), base_url="http://handover.test") as client:
        yield client
    for told in recorder.told:
        assert told.is_declared(), told


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
