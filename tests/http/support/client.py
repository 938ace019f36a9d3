"""People who call the API, and what they make of its answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.types import ASGIApp

from application.ports import Clock
from application.store import Store
from domain.user import User
from infrastructure.container import Container, Settings, build_container
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.app import attach_container, create_app

PASSWORD = "correct horse battery"


async def sign_in(http: AsyncClient, username: str, password: str = PASSWORD) -> Response:
    return await http.post("/auth/token", data={"username": username, "password": password})


async def refresh(http: AsyncClient, tokens: dict[str, Any]) -> Response:
    return await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


def container_on(settings: Settings, store: Store, clock: Clock) -> Container:
    container = build_container(settings)
    container.store.override(providers.Object(store))
    container.now.override(providers.Object(clock))
    return container


def app_of(container: Container) -> FastAPI:
    """Wired by hand and not by its lifespan, which would close the store that all tests share."""
    app = create_app(container)
    attach_container(app, container)
    return app


def client_of(app: ASGIApp, address: str = "127.0.0.1") -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app, client=(address, 1)), base_url="http://handover.test")


@dataclass
class Person:
    """Somebody with an account and an access token."""

    user: User
    http: AsyncClient
    token: str

    @property
    def id(self) -> str:
        return str(self.user.id)

    async def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **content: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return await self.http.request(method, path, headers=headers, **content)

    async def get(self, path: str, **content: Any) -> Response:
        return await self.call("GET", path, **content)

    async def post(self, path: str, **content: Any) -> Response:
        return await self.call("POST", path, **content)

    async def registers(self, **fields: Any) -> dict[str, Any]:
        response = await self.post("/items", json={"name": "Lamp", "price": 19.99, **fields})
        assert response.status_code == 201, response.text
        item: dict[str, Any] = response.json()
        return item

    async def hands_over(self, item: dict[str, Any], to: "Person", **headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post(f"/items/{item['id']}/transfer", json={"to_user_id": to.id}, headers=sent)


NewPerson = Callable[..., Awaitable[Person]]


def assert_faults(response: Response, *pointers: str) -> None:
    """It is refused for what stands at these places, and for nothing else."""
    assert_problem(response, 422, "invalid-request")
    assert sorted(error["pointer"] for error in response.json()["errors"]) == sorted(pointers)
    assert all(error["detail"] for error in response.json()["errors"])
