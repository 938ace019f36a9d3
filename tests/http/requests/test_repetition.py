"""Parameters of the query and fields of a form that are there more than once, which is never what the client meant."""

from urllib.parse import urlencode

import pytest
from httpx2 import AsyncClient

from interfaces.certification.parity.document import document
from tests.http.support.client import Person, assert_faults

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("/tasks?status=pending&status=completed", ["status"]),
        ("/tasks?limit=5&limit=5", ["limit"]),
        ("/tasks?limit=5&limit=", ["limit"]),
        ("/tasks?limit=5&l%69mit=6", ["limit"]),
        ("/tasks?skip=0&count=true&skip=1&count=false&limit=x", ["skip", "count"]),
        ("/tasks/recent?days=1&days=2&days=3", ["days"]),
        ("/tasks/by-status/pending?limit=1&limit=2", ["limit"]),
        ("/items?min_price=1&max_price=2&min_price=3", ["min_price"]),
        ("/items?cursor=a&cursor=b", ["cursor"]),
        ("/users?limit=1&limit=2", ["limit"]),
        ("/users/x/items?sort=name&sort=price", ["sort"]),
        ("/items/019a9d4c-5f2e-7c11-9a51-3d4f0e6b7a21/transfers?skip=1&skip=1", ["skip"]),
    ],
)
async def test_a_parameter_may_be_there_once(ada: Person, address: str, names: list[str]) -> None:
    response = await ada.get(address)
    assert_faults(response, *(f"/{name}" for name in names))
    assert {error["detail"] for error in response.json()["errors"]} == {"is there more than once"}


@pytest.mark.parametrize("path", [path for path, methods in document()["paths"].items() if "get" in methods])
async def test_every_parameter_of_every_list_may_be_there_once(ada: Person, path: str) -> None:
    parameters = document()["paths"][path]["get"].get("parameters", [])
    names = [parameter["name"] for parameter in parameters if parameter["in"] == "query"]
    if names:
        address = path.replace("{user_id}", ada.id).replace("{item_id}", ada.id).replace("{status}", "pending")
        assert_faults(
            await ada.get(f"{address}?{urlencode([(name, 'x') for name in names * 2])}"), *map("/{}".format, names)
        )


async def test_what_is_unknown_is_ignored_however_often(ada: Person) -> None:
    for query in ("?colour=red&colour=green&limit=5", "?limit=5&&&x&x", "?Limit=1&limit=2"):
        assert (await ada.get(f"/items{query}")).status_code == 200


async def test_who_has_not_signed_in_is_told_so_first(http: AsyncClient) -> None:
    assert (await http.get("/items?limit=1&limit=2")).status_code == 401


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("username=eve&username=ada&password=x", ["username"]),
        ("username=eve&password=x&password=y", ["password"]),
        ("username=eve&password=x&password=", ["password"]),
        ("grant_type=password&username=eve&password=x&grant_type=password", ["grant_type"]),
        ("username=eve&scope=&password=x&scope=&password=y", ["scope", "password"]),
    ],
)
async def test_a_field_of_a_form_may_be_there_once(http: AsyncClient, form: str, names: list[str]) -> None:
    """RFC 6749, section 3.2."""
    response = await http.post("/auth/token", content=form, headers=FORM)
    assert_faults(response, *(f"/{name}" for name in names))
    assert {error["detail"] for error in response.json()["errors"]} == {"is there more than once"}


async def test_an_unknown_field_of_a_form_is_unknown_however_often(http: AsyncClient) -> None:
    response = await http.post("/auth/token", content="username=eve&password=x&secret=1&secret=2", headers=FORM)
    assert_faults(response, "")
    assert "secret=" not in response.text
