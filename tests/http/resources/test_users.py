"""Users: one's own account, and what everybody may know of the others."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response

from domain.user import UserId
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.builders import a_user, new_id
from tests.http.support.client import NewPerson, Person, assert_faults

PASSWORD = "correct horse battery staple"
NOBODY = f"/users/{new_id()}"


async def sign_in(http: AsyncClient, login: str, password: str = PASSWORD) -> Response:
    return await http.post("/auth/token", data={"username": login, "password": password})


@pytest.fixture
async def eve(http: AsyncClient) -> Person:
    """With a password that is known, unlike the builders'."""
    body = {"email": "eve@example.org", "username": "eve", "password": PASSWORD}
    account = (await http.post("/users", json=body)).json()
    user = a_user(id=UserId(UUID(account["id"])), username="eve", email="eve@example.org")
    return Person(user, http, (await sign_in(http, "eve")).json()["access_token"])


async def test_profiles_are_without_the_address(ada: Person, bob: Person) -> None:
    own = (await ada.get("/users/me")).json()
    assert (await ada.get(f"/users/{ada.id}")).json() == own
    profile = {name: value for name, value in own.items() if name != "email"}
    assert profile.keys() == {"id", "username", "is_active", "created_at"}
    assert (await bob.get(f"/users/{ada.id}")).json() == profile
    assert profile in (await ada.get("/users")).json()["items"]
    assert_problem(await ada.get(NOBODY), 404, "user-not-found")


async def test_all_users_in_order_of_their_ids(ada: Person, new_person: NewPerson) -> None:
    people = [ada, *[await new_person() for _ in range(4)]]
    following, walked = "/users?limit=2", []
    while following:
        response = await ada.get(following)
        walked += [user["id"] for user in response.json()["items"]]
        following = response.links["next"]["url"] if "next" in response.links else ""
    assert walked == [person.id for person in people]
    assert (await ada.get("/users")).json()["total"] == 5


async def changes(person: Person, whose: Person | None = None, **body: Any) -> Response:
    body = {"current_password": PASSWORD} | body
    return await person.call("PATCH", f"/users/{(whose or person).id}", json=body)


async def test_changing_the_address(http: AsyncClient, eve: Person) -> None:
    before = (await eve.get("/users/me")).json()
    response = await changes(eve, email="Eve@Elsewhere.example")
    assert (response.status_code, response.json()) == (200, before | {"email": "eve@elsewhere.example"})
    assert (await eve.get("/users/me")).json() == response.json()
    assert (await sign_in(http, "eve@elsewhere.example")).status_code == 200
    assert_problem(await sign_in(http, "eve@example.org"), 401, "wrong-credentials")


async def test_a_new_password_ends_every_session(http: AsyncClient, eve: Person) -> None:
    session = (await sign_in(http, "eve")).json()
    assert (await changes(eve, password="another battery staple")).status_code == 200
    refreshed = await http.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert_problem(refreshed, 401, "invalid-refresh-token")
    assert_problem(await sign_in(http, "eve"), 401, "wrong-credentials")
    assert (await sign_in(http, "eve", "another battery staple")).status_code == 200


async def test_an_address_that_is_taken(ada: Person, eve: Person) -> None:
    assert_problem(await changes(eve, email="ADA@example.org"), 409, "email-taken")
    assert (await changes(eve, email="EVE@example.org")).status_code == 200


async def test_only_who_knows_the_password_changes_the_account(eve: Person) -> None:
    assert_problem(await changes(eve, email="a@b.example", current_password="wrong"), 403, "wrong-password")
    missing = await eve.call("PATCH", f"/users/{eve.id}", json={"email": "a@b.example"})
    assert_faults(missing, "/current_password")
    assert (await eve.get("/users/me")).json()["email"] == "eve@example.org"


async def test_guesses_are_counted_as_those_at_signing_in(http: AsyncClient, eve: Person) -> None:
    for number in range(10):
        if number % 2:
            assert_problem(await sign_in(http, "eve", "wrong"), 401, "wrong-credentials")
        else:
            assert_problem(await changes(eve, current_password="wrong"), 403, "wrong-password")
    assert_problem(await changes(eve), 429, "too-many-attempts")
    assert_problem(await sign_in(http, "eve"), 429, "too-many-attempts")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"email": None, "password": None}, ["/email", "/password"]),
        ({"email": "x", "password": "short"}, ["/email", "/password"]),
        ({"username": "eva"}, [""]),
        ({"is_active": True, "id": "x"}, [""]),
        ({"current_password": None}, ["/current_password"]),
        ({"current_password": "x" * 129}, ["/current_password"]),
    ],
)
async def test_a_wrong_change_names_its_fields(ada: Person, body: dict[str, Any], pointers: list[str]) -> None:
    assert_faults(await changes(ada, **body), *pointers)


async def test_deleting_the_account(http: AsyncClient, ada: Person, eve: Person) -> None:
    item = await eve.registers()
    assert_problem(await eve.call("DELETE", f"/users/{eve.id}"), 409, "user-owns-items")
    await eve.hands_over(item, ada)
    assert (await eve.post("/tasks", json={"title": "Leave"})).status_code == 201
    session = (await sign_in(http, "eve")).json()
    response = await eve.call("DELETE", f"/users/{eve.id}")
    assert (response.status_code, response.content) == (204, b"")

    assert_problem(await ada.get(f"/users/{eve.id}"), 404, "user-not-found")
    assert_problem(await eve.get("/users/me"), 401, "account-inactive")
    assert_problem(await eve.post("/tasks", json={"title": "Stay"}), 401, "account-inactive")
    assert_problem(await eve.call("DELETE", f"/users/{eve.id}"), 401, "account-inactive")
    assert_problem(await sign_in(http, "eve"), 401, "wrong-credentials")
    refreshed = await http.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert_problem(refreshed, 401, "invalid-refresh-token")
    (transfer,) = (await ada.get(f"/items/{item['id']}/transfers")).json()["items"]
    assert transfer["from_user_id"] == eve.id
    body = {"email": "eve@example.org", "username": "eve", "password": PASSWORD}
    assert (await http.post("/users", json=body)).json()["id"] != eve.id


async def test_somebody_elses_account(
    ada: Person, bob: Person, deactivate: Callable[[Person], Awaitable[None]]
) -> None:
    nobody = {"current_password": PASSWORD}
    assert_problem(await changes(ada, bob), 403, "not-your-account")
    assert_problem(await ada.call("DELETE", f"/users/{bob.id}"), 403, "not-your-account")
    assert_problem(await ada.call("DELETE", NOBODY), 404, "user-not-found")
    assert_problem(await ada.call("PATCH", NOBODY, json=nobody), 404, "user-not-found")
    await deactivate(ada)
    assert_problem(await changes(ada, bob), 401, "account-inactive")
    assert_problem(await changes(ada), 401, "account-inactive")
    assert_problem(await ada.call("DELETE", f"/users/{ada.id}"), 401, "account-inactive")
    assert (await ada.get(f"/users/{ada.id}")).json()["is_active"] is False
