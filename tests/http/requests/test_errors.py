"""What can be refused and why, and which reason is told where there are several."""

from collections.abc import Awaitable, Callable

import pytest
from httpx2 import AsyncClient

from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.builders import new_id
from tests.http.support.client import Person, assert_faults

Deactivate = Callable[[Person], Awaitable[None]]

NOWHERE = "/items/00000000-0000-7000-8000-000000000000"


async def test_an_item_that_does_not_exist(ada: Person) -> None:
    assert_problem(await ada.get(NOWHERE), 404, "item-not-found")
    assert_problem(await ada.get(f"{NOWHERE}/transfers"), 404, "item-not-found")
    assert_problem(await ada.post(f"{NOWHERE}/transfer", json={"to_user_id": ada.id}), 404, "item-not-found")


async def test_somebody_elses_item(ada: Person, bob: Person) -> None:
    assert_problem(await bob.hands_over(await ada.registers(), ada), 403, "item-not-owned")


async def test_recipients(ada: Person, bob: Person, deactivate: Deactivate) -> None:
    item = await ada.registers()
    address = f"/items/{item['id']}/transfer"
    nobody = await ada.post(address, json={"to_user_id": str(new_id())})
    assert_problem(nobody, 422, "recipient-not-found")
    assert nobody.json()["errors"][0]["pointer"] == "/to_user_id"
    assert_problem(await ada.hands_over(item, ada), 422, "recipient-is-owner")
    await deactivate(bob)
    assert_problem(await ada.hands_over(item, bob), 409, "recipient-inactive")
    assert (await ada.get(f"/items/{item['id']}")).json() == item


async def test_a_deactivated_account_writes_no_more(ada: Person, bob: Person, deactivate: Deactivate) -> None:
    item = await ada.registers()
    await deactivate(ada)
    assert_problem(await ada.get("/users/me"), 401, "account-inactive")
    assert_problem(await ada.post("/items", json={"name": "Lamp", "price": 1}), 401, "account-inactive")
    assert_problem(await ada.hands_over(item, bob), 401, "account-inactive")
    assert (await ada.get(f"/items/{item['id']}")).status_code == 200


async def test_signing_in_tells_nothing_about_why_not(http: AsyncClient, ada: Person, deactivate: Deactivate) -> None:
    """The builders' hashes fit no password, and a real one is costly: who is refused here for what is all the same."""
    body = {"email": "eve@example.org", "username": "eve", "password": "correct horse"}
    assert (await http.post("/users", json=body)).status_code == 201
    wrong = await http.post("/auth/token", data={"username": "eve", "password": "Correct horse"})
    unknown = await http.post("/auth/token", data={"username": "nobody", "password": "correct horse"})
    await deactivate(ada)
    inactive = await http.post("/auth/token", data={"username": "ada", "password": "correct horse"})
    for refused in (wrong, unknown, inactive):
        assert_problem(refused, 401, "wrong-credentials")
    told = [{**r.json(), "request_id": ""} for r in (wrong, unknown, inactive)]
    assert told[0] == told[1] == told[2]
    names = [[(name, value) for name, value in r.headers.items() if name != "x-request-id"] for r in (wrong, unknown)]
    assert names[0] == names[1]


@pytest.mark.parametrize("path", ["/nope", "/items/x/y/z", "/users/me/nope", "/%00", "/%ff", "/problems/nope"])
async def test_unknown_addresses(http: AsyncClient, path: str) -> None:
    assert_problem(await http.get(path), 404, "not-found")


async def test_other_methods(http: AsyncClient) -> None:
    for method, path, allowed in [
        ("PUT", "/users", "GET, HEAD, POST"),
        ("DELETE", "/items/x/transfer", "POST"),
        ("POST", "/items/x", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/tasks/x", "DELETE, GET, HEAD, PATCH, PUT"),
        ("POST", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/health/live", "GET, HEAD"),
    ]:
        response = await http.request(method, path)
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == allowed


async def test_a_trailing_slash_redirects(http: AsyncClient, ada: Person) -> None:
    response = await http.get("/health/live/", headers={"Host": "forged.example.org", "X-Forwarded-Proto": "https"})
    assert (response.status_code, response.headers["location"]) == (307, "/health/live")
    assert (await http.get("/health/live/", follow_redirects=True)).json() == {"status": "alive"}
    assert (await ada.get("/users/me/", follow_redirects=True)).json()["id"] == ada.id


async def test_the_order_of_judgement(ada: Person, bob: Person, http: AsyncClient) -> None:
    """Each request is wrong in all the ways that are judged later, too."""
    item = await ada.registers()
    address = f"/items/{item['id']}/transfer"
    text = {"Content-Type": "text/plain"}
    json = {"Content-Type": "application/json"}
    huge = b"{" + b" " * 70_000

    assert_problem(await http.post("/nope", content=huge, headers=text), 404, "not-found")
    assert_problem(await http.put(address, content=huge, headers=text), 405, "method-not-allowed")
    assert_problem(await http.post("/items/x/transfer", content=huge, headers=text), 401, "not-signed-in")
    assert_problem(await bob.post("/items/x/transfer", content=huge, headers=json), 413, "content-too-large")
    assert_problem(await bob.post("/items/x/transfer", content=b"{", headers=text), 415, "unsupported-media-type")
    assert_faults(
        await bob.post("/items/x/transfer", json={"to_user_id": "?"}, headers={"If-Match": '"9"'}),
        "/item_id",
        "/to_user_id",
    )

    key = {"Idempotency-Key": "k"}
    assert (await ada.post(address, json={"to_user_id": bob.id}, headers=key)).status_code == 200
    assert_faults(await ada.post(address, json={"to_user_id": "?"}, headers=key), "/to_user_id")
    replay = await ada.post(address, json={"to_user_id": bob.id}, headers=key)
    assert (replay.status_code, replay.headers["idempotency-replayed"]) == (200, "true")  # not 403: no longer the owner

    other = await ada.post(address, json={"to_user_id": ada.id}, headers=key | {"If-Match": '"9"'})
    assert_problem(other, 422, "idempotency-key-reused")
    stale = {"If-Match": '"9"'}
    gone = await ada.post(f"{NOWHERE}/transfer", json={"to_user_id": str(new_id())}, headers=stale)
    assert_problem(gone, 404, "item-not-found")
    assert_problem(await ada.post(address, json={"to_user_id": str(new_id())}, headers=stale), 403, "item-not-owned")
    moved_on = await bob.post(address, json={"to_user_id": str(new_id())}, headers=stale)
    assert_problem(moved_on, 412, "version-mismatch")
    assert_problem(await bob.post(address, json={"to_user_id": str(new_id())}), 422, "recipient-not-found")


async def test_an_unknown_field_is_answered_with_the_known_ones(ada: Person) -> None:
    response = await ada.post("/items", json={"name": "Lamp", "price": 1, "secret-name": "secret-value"})
    assert_problem(response, 422, "invalid-request")
    known = "has a field that is not known; known are: description, name, price"
    assert response.json()["errors"] == [{"pointer": "", "detail": known}]
    several = {"owner_id": 1, "version": 2, "id": 3, "name": "Lamp"}
    errors = (await ada.post("/items", json=several)).json()["errors"]
    assert errors == [
        {"pointer": "/price", "detail": "is required"},
        {"pointer": "", "detail": "has 3 fields that are not known; known are: description, name, price"},
    ]
    form = await ada.http.post("/auth/token", data={"username": "ada", "password": "x", "secret-name": "secret-value"})
    assert "known are: client_id, client_secret, grant_type, password, scope, username" in form.text
    assert "secret" not in (response.text + form.text).replace("client_secret", "")
