"""The story from signing up to reading the history, as a consumer of the API lives it."""

import re

from httpx2 import AsyncClient

from interfaces.certification.parity.problems import assert_problem
from tests.http.support.client import Person

PASSWORD = "correct horse battery staple"


async def sign_up(http: AsyncClient, username: str) -> dict[str, str]:
    body = {"email": f"{username}@Example.org", "username": username, "password": PASSWORD}
    response = await http.post("/users", json=body)
    assert response.status_code == 201
    account: dict[str, str] = response.json()
    assert response.headers["location"] == f"/users/{account['id']}"
    return account


async def sign_in(http: AsyncClient, login: str) -> dict[str, str]:
    response = await http.post("/auth/token", data={"username": login, "password": PASSWORD})
    assert response.status_code == 200
    assert response.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert response.json()["token_type"] == "bearer"
    assert response.json()["expires_in"] == 900
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def test_an_item_is_registered_and_handed_over_and_its_history_read(http: AsyncClient) -> None:
    ada, bob = await sign_up(http, "Ada"), await sign_up(http, "bob")
    assert ada == {
        "id": ada["id"],
        "email": "ada@example.org",
        "username": "ada",
        "is_active": True,
        "created_at": "2026-11-22T12:00:00.123Z",
    }
    as_ada, as_bob = await sign_in(http, "ADA"), await sign_in(http, "Bob@example.org")
    assert (await http.get("/users/me", headers=as_ada)).json() == ada

    created = await http.post("/items", headers=as_ada, json={"name": "Lamp", "price": 19.9, "description": "Brass"})
    item = created.json()
    assert created.status_code == 201
    assert created.headers["location"] == f"/items/{item['id']}"
    assert created.headers["etag"] == '"1"'
    assert item == {
        "id": item["id"],
        "name": "Lamp",
        "description": "Brass",
        "price": 19.9,
        "owner_id": ada["id"],
        "owner": {"id": ada["id"], "username": "ada"},
        "created_at": "2026-11-22T12:00:00.123Z",
        "version": 1,
    }
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", item["id"])

    address = created.headers["location"]
    read = await http.get(address, headers=as_bob)
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, item, '"1"')

    transferred = await http.post(f"{address}/transfer", headers=as_ada, json={"to_user_id": bob["id"]})
    assert transferred.status_code == 200
    assert transferred.headers["etag"] == '"2"'
    assert transferred.json() == {
        **item,
        "owner_id": bob["id"],
        "owner": {"id": bob["id"], "username": "bob"},
        "version": 2,
    }
    assert (await http.get(address, headers=as_ada)).json() == transferred.json()

    history = (await http.get(f"{address}/transfers", headers=as_ada)).json()
    (transfer,) = history.pop("items")
    assert history == {"total": 1, "total_exact": True, "skip": 0, "limit": 10, "next_cursor": None}
    assert transfer == {
        "id": transfer["id"],
        "item_id": item["id"],
        "number": 1,
        "from_user_id": ada["id"],
        "to_user_id": bob["id"],
        "version": 2,
        "transferred_at": "2026-11-22T12:00:00.123Z",
    }


async def test_a_price_is_exact(ada: Person) -> None:
    for sent, answered in [("1.230", 1.23), ("0", 0), ("-0.0", 0), ("9999999999.99", 9999999999.99), ("1e3", 1000)]:
        content = f'{{"name": "Lamp", "price": {sent}}}'
        created = await ada.post("/items", content=content, headers={"Content-Type": "application/json"})
        assert created.status_code == 201, created.text
        assert created.json()["price"] == answered
        assert (await ada.get(created.headers["location"])).json() == created.json()


async def test_texts_come_back_as_they_were(ada: Person) -> None:
    item = await ada.registers(name=" Ünïcødé 🏮 ", description='\u2028 \\ " \t\n')
    assert item["name"] == " Ünïcødé 🏮 "
    assert (await ada.get(f"/items/{item['id']}")).json() == item


async def test_the_process_lives_and_is_ready(http: AsyncClient) -> None:
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    assert (await http.get("/health/ready")).json() == {"status": "ready"}


async def test_names_and_addresses_are_taken_however_spelt(http: AsyncClient, ada: Person) -> None:
    body = {"email": "new@example.org", "username": "newcomer", "password": PASSWORD}
    assert_problem(await http.post("/users", json=body | {"email": "ADA@example.ORG"}), 409, "email-taken")
    assert_problem(await http.post("/users", json=body | {"username": "AdA"}), 409, "username-taken")
