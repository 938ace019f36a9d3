"""Items: changing, removing and finding them."""

from typing import Any

import pytest

from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.builders import new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import Person, assert_faults


async def test_changing_an_item(ada: Person) -> None:
    item = await ada.registers(description="Brass")
    address = f"/items/{item['id']}"
    changes: list[dict[str, Any]] = [
        {"name": "Lantern"},
        {"price": 20},
        {"description": None},
        {"name": "Lamp", "description": "", "price": 0.01},
    ]
    for body in changes:
        response = await ada.call("PATCH", address, json=body)
        item = item | body | {"version": item["version"] + 1}
        assert (response.status_code, response.json()) == (200, item)
        assert response.headers["etag"] == f'"{item["version"]}"'
        assert (await ada.get(address)).json() == item


async def test_what_changes_nothing_is_no_new_version(ada: Person) -> None:
    item = await ada.registers(description="Brass")
    for body in ({}, {"name": "Lamp"}, {"price": 19.990}, {"description": "Brass", "price": 19.99, "name": "Lamp"}):
        response = await ada.call("PATCH", f"/items/{item['id']}", json=body)
        assert (response.status_code, response.json(), response.headers["etag"]) == (200, item, '"1"')


async def test_changing_and_removing_what_one_has_seen(ada: Person) -> None:
    item = await ada.registers()
    address, seen = f"/items/{item['id']}", {"If-Match": '"1"'}
    assert (await ada.call("PATCH", address, json={"price": 1}, headers=seen)).status_code == 200
    assert_problem(await ada.call("PATCH", address, json={"price": 2}, headers=seen), 412, "version-mismatch")
    assert_problem(await ada.call("PATCH", address, json={}, headers=seen), 412, "version-mismatch")
    assert_problem(await ada.call("DELETE", address, headers=seen), 412, "version-mismatch")
    assert (await ada.get(address)).json()["price"] == 1
    assert (await ada.call("DELETE", address, headers={"If-Match": '"1", "2"'})).status_code == 204


async def test_removing_an_item(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    address = f"/items/{item['id']}"
    await ada.hands_over(item, bob)
    assert_problem(await ada.call("DELETE", address), 403, "item-not-owned")
    response = await bob.call("DELETE", address)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    for gone in (
        await bob.get(address),
        await bob.get(f"{address}/transfers"),
        await bob.call("DELETE", address),
        await bob.call("PATCH", address, json={}),
        await bob.hands_over(item, ada),
    ):
        assert_problem(gone, 404, "item-not-found")
    assert (await bob.get("/items")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"name": None}, ["/name"]),
        ({"price": None, "description": 1}, ["/price", "/description"]),
        ({"price": "1", "name": ""}, ["/price", "/name"]),
        ({"price": 1.001}, ["/price"]),
        ({"owner_id": "x", "version": 1}, [""]),
        ([], [""]),
    ],
)
async def test_a_wrong_change_names_its_fields(ada: Person, body: Any, pointers: list[str]) -> None:
    item = await ada.registers()
    assert_faults(await ada.call("PATCH", f"/items/{item['id']}", json=body), *pointers)
    assert (await ada.get(f"/items/{item['id']}")).json() == item


async def named(person: Person, address: str) -> list[str]:
    response = await person.get(address)
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.json()["items"]]


async def test_finding_items(ada: Person, bob: Person, clock: SetClock) -> None:
    for person, name, price in [(ada, "b", 3), (bob, "a", 2), (ada, "B", 1.5), (bob, "ä", 2), (ada, "a", 10)]:
        await person.registers(name=name, price=price)
        clock.move(seconds=1)
    for query, expected in [
        ("", "b a B ä a"),
        ("sort=created_at", "b a B ä a"),
        ("sort=-created_at", "a ä B a b"),
        ("sort=name", "B a a b ä"),
        ("sort=-name", "ä b a a B"),
        ("sort=price", "B a ä b a"),
        ("sort=-price", "a b ä a B"),
        ("min_price=2", "b a ä a"),
        ("max_price=2.00", "a B ä"),
        ("min_price=2&max_price=3&sort=-price", "b ä a"),
        ("min_price=0&max_price=9999999999.99", "b a B ä a"),
        ("min_price=1e1", "a"),
        (f"owner_id={bob.id}", "a ä"),
        (f"owner_id={bob.id}&max_price=1", ""),
        (f"owner_id={new_id()}", ""),
        ("sort=price&skip=1&limit=2", "a ä"),
    ]:
        assert await named(ada, f"/items?{query}") == expected.split(), query
    assert await named(bob, f"/users/{ada.id}/items?sort=price&min_price=2") == ["b", "a"]
    page = (await ada.get("/items?max_price=2&limit=1")).json()
    assert (page["total"], page["total_exact"]) == (3, True)
    (shown,) = page["items"]
    assert (await ada.get(f"/items/{shown['id']}")).json() == shown


async def test_the_items_of_nobody_and_of_somebody_without(ada: Person) -> None:
    assert_problem(await ada.get(f"/users/{new_id()}/items"), 404, "user-not-found")
    assert_problem(await ada.get(f"/users/{new_id()}/items?skip=5&min_price=1"), 404, "user-not-found")
    assert (await ada.get(f"/users/{ada.id}/items")).json()["total"] == 0
    await ada.registers()
    beyond = (await ada.get(f"/users/{ada.id}/items?skip=5")).json()
    assert (beyond["items"], beyond["total"]) == ([], 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            (f"min_price={value}", "min_price")
            for value in ("", "x", "-1", "1.001", "NaN", "Infinity", "1_0", "٣", "+1")
        ),
        *((f"max_price={value}", "max_price") for value in ("10000000000", "1e400", "1e-3", "0x1", "1.", ".5", "01")),
        ("min_price=" + "9" * 5000, "min_price"),
        ("min_price=2&max_price=1.99", "max_price"),
        ("sort=", "sort"),
        ("sort=id", "sort"),
        ("sort=--name", "sort"),
        ("sort=NAME", "sort"),
        ("sort=owner_id", "sort"),
        ("owner_id=x", "owner_id"),
        ("owner_id=", "owner_id"),
    ],
)
async def test_a_wrong_query_names_its_parameter(ada: Person, query: str, field: str) -> None:
    assert_faults(await ada.get(f"/items?{query}"), f"/{field}")
