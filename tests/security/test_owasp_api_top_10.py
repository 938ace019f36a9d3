"""The OWASP API Security Top 10 of 2023, line by line, over HTTP and on every engine.

API10, unsafe consumption of other APIs, has no test: there is no other API that we would call (see API7).
"""

import ast
import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import AsyncClient

from application.store import Store
from interfaces.certification.parity.document import operations
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import PASSWORD, Person, assert_faults, refresh, sign_in

SRC = Path(__file__).parents[2] / "src"
NOBODY = "00000000-0000-7000-8000-000000000000"

OPEN = {
    "start",
    "create_user",
    "sign_in",
    "refresh_session",
    "sign_out",
    "live",
    "ready",
    "explain_problem",
    "list_problems",
    "read_metrics",  # by a token of its own, and in production by nothing else
}


async def test_api1_broken_object_level_authorization(http: AsyncClient, ada: Person, bob: Person) -> None:
    """What is somebody else's can be neither changed nor, where it is private, told from what does not exist."""
    item = await ada.registers()
    task = (await ada.post("/tasks", json={"title": "Dust"})).json()
    for method, path, body in (
        ("PATCH", f"/items/{item['id']}", {"name": "Mine"}),
        ("DELETE", f"/items/{item['id']}", None),
        ("POST", f"/items/{item['id']}/transfer", {"to_user_id": bob.id}),
    ):
        assert_problem(await bob.call(method, path, json=body), 403, "item-not-owned")
    for method, body in (("GET", None), ("PUT", {"title": "Mine"}), ("PATCH", {"title": "Mine"}), ("DELETE", None)):
        theirs, missing = [await bob.call(method, f"/tasks/{id}", json=body) for id in (task["id"], NOBODY)]
        assert_problem(theirs, 404, "task-not-found")
        assert theirs.json()["detail"] == missing.json()["detail"]
    assert (await bob.get("/tasks")).json()["items"] == []
    change = {"email": "x@example.org", "current_password": PASSWORD}
    for method, body in (("PATCH", change), ("DELETE", None)):
        assert_problem(await bob.call(method, f"/users/{ada.id}", json=body), 403, "not-your-account")
    assert (await ada.get(f"/items/{item['id']}")).json() == item
    assert (await ada.get(f"/tasks/{task['id']}")).json() == task

    key = {"Idempotency-Key": "the same of both"}
    first = await ada.post("/items", json={"name": "Ring", "price": 1}, headers=key)
    second = await bob.post("/items", json={"name": "Ring", "price": 1}, headers=key)
    assert first.json()["id"] != second.json()["id"]  # an answer that is kept is its caller's


async def test_api2_broken_authentication(
    http: AsyncClient, second_http: AsyncClient, eve: Person, clock: SetClock
) -> None:
    """Guessing is slowed down by all workers together, tokens end, and stealing one ends the session."""
    tokens = (await sign_in(http, "eve")).json()
    stolen = dict(tokens)
    tokens = (await refresh(http, tokens)).json()
    for family in (stolen, tokens):
        assert_problem(await refresh(second_http, family), 401, "invalid-refresh-token")
    access = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await http.get("/users/me", headers=access)).status_code == 200
    clock.move(minutes=15, seconds=30)
    assert_problem(await http.get("/users/me", headers=access), 401, "invalid-token")

    for number in range(10):
        answer = await sign_in((http, second_http)[number % 2], "eve", "a wrong password")
        assert_problem(answer, 401, "wrong-credentials")
    for client in (http, second_http):
        assert_problem(await sign_in(client, "eve"), 429, "too-many-attempts")
    for weak in ("Password1", "12345678", "qwertyuiop", "eveeveeve"[:7]):
        body = {"email": "new@example.org", "username": "new", "password": weak}
        assert (await http.post("/users", json=body)).status_code == 422


async def test_api3_broken_object_property_level_authorization(
    http: AsyncClient, ada: Person, bob: Person, store: Store
) -> None:
    """Nothing is taken that was not asked for, and nothing shown that is not for whoever asks."""
    item = await ada.registers()
    task = (await ada.post("/tasks", json={"title": "Dust"})).json()
    account = {"email": "new@example.org", "username": "new", "password": PASSWORD}
    change = {"current_password": PASSWORD}
    for person, method, path, body, more in (
        (bob, "POST", "/users", account, ("id", "is_active", "password_hash", "created_at", "version", "role")),
        (ada, "PATCH", f"/users/{ada.id}", change, ("id", "username", "is_active", "password_hash", "version")),
        (bob, "POST", "/items", {"name": "x", "price": 1}, ("id", "owner_id", "owner", "version", "transfers")),
        (ada, "PATCH", f"/items/{item['id']}", {"name": "x"}, ("id", "owner_id", "owner", "version", "created_at")),
        (ada, "POST", f"/items/{item['id']}/transfer", {"to_user_id": bob.id}, ("from_user_id", "version")),
        (ada, "PATCH", f"/tasks/{task['id']}", {"title": "x"}, ("id", "owner_id", "version", "created_at")),
    ):
        for field in more:
            assert_faults(await person.call(method, path, json={**body, field: getattr(bob, "id", 1)}), "")
    assert (await ada.get(f"/items/{item['id']}")).json() == item

    public = {"id", "username", "is_active", "created_at"}
    assert (await bob.get(f"/users/{ada.id}")).json().keys() == public
    assert all(profile.keys() == public for profile in (await bob.get("/users")).json()["items"])
    assert (await ada.get("/users/me")).json().keys() == public | {"email"}
    hashed = (await store.users.get(ada.user.id)).password_hash
    for path in ("/users/me", f"/users/{ada.id}", "/users", f"/items/{item['id']}", "/items", f"/users/{ada.id}/items"):
        shown = (await bob.get(path)).text
        assert hashed not in shown
        assert ada.user.email not in shown


async def test_api4_unrestricted_resource_consumption(http: AsyncClient, ada: Person) -> None:
    """What an answer costs has a bound, whatever is asked for."""
    for query in ("limit=101", "limit=1000000000000", "skip=10001", "limit=-1"):
        for path in ("/items", "/users", "/tasks", "/tasks/recent", f"/users/{ada.id}/items"):
            assert_problem(await ada.get(f"{path}?{query}"), 422, "invalid-request")
    assert_problem(await ada.get("/tasks/recent?days=366"), 422, "invalid-request")
    assert_problem(await ada.post("/items", content=b" " * 65_537, headers=JSON), 413, "content-too-large")
    form = {"username": "x" * 40_000, "password": "y" * 40_000}
    assert_problem(await http.post("/auth/token", data=form), 413, "content-too-large")
    nested = b'{"name": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert (await ada.post("/items", content=nested, headers=JSON)).status_code == 422
    digits = b'{"name": "x", "price": ' + b"9" * 60_000 + b"}"
    assert (await ada.post("/items", content=digits, headers=JSON)).status_code == 422
    long = {"email": "new@example.org", "username": "new", "password": "long enough " * 20}
    assert_faults(await http.post("/users", json=long), "/password")  # no hash is spent on it
    assert_faults(
        await http.post("/auth/token", data={"username": "new", "password": "long enough " * 20}), "/password"
    )
    key = {"Idempotency-Key": "k" * 256}
    assert_faults(await ada.post("/items", json={"name": "x", "price": 1}, headers=key), "/Idempotency-Key")
    many = [sign_in(http, f"nobody{number}", "a wrong password") for number in range(100)]
    answers = await asyncio.gather(*many)
    assert {answer.status_code for answer in answers} <= {401, 429, 503}


JSON = {"Content-Type": "application/json"}


async def test_api5_broken_function_level_authorization(
    http: AsyncClient, ada: Person, bob: Person, deactivate: Callable[[Person], Awaitable[None]]
) -> None:
    """What is for operators has no route, what is for users needs a token, and no header makes it otherwise."""
    for name, operation in operations().items():
        assert (operation.get("security") == []) == (name in OPEN), name
    for path in (f"/users/{bob.id}/activate", f"/users/{bob.id}/deactivate", "/admin", "/admin/users", "/purge"):
        for method in ("GET", "POST"):
            assert_problem(await ada.call(method, path), 404, "not-found")
    override = {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": f"/users/{bob.id}", "X-Rewrite-URL": "/users/me"}
    assert (await ada.post("/tasks", json={"title": "x"}, headers=override)).status_code == 201
    assert_problem(await http.get("/health/live/../../users/me"), 401, "not-signed-in")
    for trick in (
        "/users/me/",
        "//users/me",
        "/users/me;x=/health/live",
        "/users/me%2f",
        "/Users/me",
        "/health/live%2f../users/me",
    ):
        assert (await http.get(trick)).status_code in {307, 401, 404}
    await deactivate(bob)
    for method, path, body in (
        ("POST", "/items", {"name": "x", "price": 1}),
        ("POST", "/tasks", {"title": "x"}),
        ("DELETE", f"/users/{bob.id}", None),
        ("GET", "/users/me", None),
    ):
        assert_problem(await bob.call(method, path, json=body), 401, "account-inactive")


async def test_api6_unrestricted_access_to_sensitive_business_flows(ada: Person, bob: Person) -> None:
    """A thing is handed over once, however many hands ask for it at once, and however often they repeat it."""
    item = await ada.registers()
    answers = await asyncio.gather(*(ada.hands_over(item, to=bob) for _ in range(10)))
    assert sorted({answer.status_code for answer in answers}) == [200, 403]
    assert [answer.status_code for answer in answers].count(200) == 1
    ring = await ada.registers()
    copies = await asyncio.gather(*(ada.hands_over(ring, to=bob, Idempotency_Key="once") for _ in range(5)))
    assert len({answer.content for answer in copies if answer.status_code == 200}) == 1
    for thing in (item, ring):
        history = (await bob.get(f"/items/{thing['id']}/transfers")).json()
        assert [transfer["number"] for transfer in history["items"]] == [1]


async def test_api7_server_side_request_forgery(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that somebody sends is a text: nothing of ours calls anybody, nor could."""
    asked: list[Any] = []
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def look_up_and_tell(host: Any, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return look_up(host, *rest, **more)

    def connect_and_tell(self: socket.socket, address: Any) -> None:
        asked.append(address)
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_and_tell)
    monkeypatch.setattr(socket.socket, "connect", connect_and_tell)
    address = "http://forged.example.org/"
    item = await ada.registers(name=address, description="file:///etc/passwd")
    assert (item["name"], item["description"]) == (address, "file:///etc/passwd")
    await ada.get("/users/me", headers={"Host": "forged.example.org", "Referer": address, "Origin": address})
    await ada.post("/tasks", json={"title": address}, headers={"X-Forwarded-Host": "forged.example.org"})
    assert "forged.example.org" not in str(asked)
    assert {"httpx", "httpx2", "requests", "aiohttp", "urllib.request", "http.client"}.isdisjoint(imported_in_src())


def imported_in_src() -> set[str]:
    """Without what certifies adapters: it calls the API within its own process."""
    files = [file for file in SRC.rglob("*.py") if "certification" not in file.parts]
    trees = [ast.parse(file.read_text()) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert "jwt" in plain
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


async def test_api8_security_misconfiguration(http: AsyncClient, ada: Person) -> None:
    """Safe unless told otherwise: headers, origins, methods, and what errors say."""
    origin = {"Origin": "https://forged.example.org", "Access-Control-Request-Method": "DELETE"}
    for answer in (
        await http.get("/health/live", headers=origin),
        await ada.get("/users/me", headers=origin),
        await http.options("/items", headers=origin),
        await http.get("/nowhere"),
        await http.request("TRACE", "/users/me"),
        await http.post("/auth/token", json={"username": "ada", "password": PASSWORD}),
        await http.post("/users", content=b'{"password": "xSUBMITTEDx', headers=JSON),
        await ada.get("/items?sort=';DROP TABLE users;--"),
        await ada.get("/items/%00"),
        await ada.get("/users/..%2f..%2fetc%2fpasswd"),
        await ada.post("/items", json={"name": {"$gt": ""}, "price": {"$ne": 1}}),
    ):
        assert answer.status_code < 500
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in {"no-store", "private, no-cache"}
        assert not [
            name for name in answer.headers if name.startswith("access-control-") or name in {"server", "x-powered-by"}
        ]
        for tell in (
            "Traceback",
            "SELECT",
            "sqlalchemy",
            "pymongo",
            "xSUBMITTEDx",
            "/src/",
            "DROP TABLE",
            "etc/passwd",
        ):
            assert tell not in answer.text.replace(answer.request.url.path, "")
    assert (await http.request("TRACE", "/users/me")).status_code == 405


async def test_api9_improper_inventory_management(app: FastAPI, http: AsyncClient, ada: Person) -> None:
    """What is served is in the document, what is in the document is served, and nothing else is left lying around."""
    served = {route.name for route in app.routes if isinstance(route, APIRoute)}
    assert served - {"openapi"} == set(operations())
    document = (await http.get("/openapi.json")).json()
    assert document["info"]["version"]
    for path in (
        *("/debug", "/metrics/", "/docs/oauth2-redirect", "/redoc", "/graphql", "/actuator/env", "/server-status"),
        *(
            "/.env",
            "/.git/config",
            "/handover.db",
            "/handover.db.secret",
            "/v1/items",
            "/api/items",
            "/internal",
            "/test",
        ),
        *("/docs/assets/../../settings.py", "/docs/assets/%2e%2e/%2e%2e/app.py", "/problems/..%2f..%2fapp.py"),
    ):
        for answer in (await http.get(path), await ada.get(path)):
            assert answer.status_code in {307, 401, 404}, path
