"""Tasks: each user's own list."""

from datetime import timedelta
from typing import Any

import pytest

from infrastructure.container import Container
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.builders import NOON
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import Person, assert_faults


async def plans(person: Person, title: str = "Dust", **fields: Any) -> dict[str, Any]:
    response = await person.post("/tasks", json={"title": title, **fields})
    assert response.status_code == 201, response.text
    task: dict[str, Any] = response.json()
    return task


async def titles(person: Person, address: str) -> str:
    response = await person.get(address)
    assert response.status_code == 200, response.text
    return " ".join(task["title"] for task in response.json()["items"])


async def test_planning_a_task(ada: Person) -> None:
    response = await ada.post("/tasks", json={"title": "Dust"})
    task = response.json()
    assert task == {
        "id": task["id"],
        "title": "Dust",
        "description": None,
        "status": "pending",
        "created_at": "2026-11-22T12:00:00.123Z",
        "version": 1,
    }
    assert (response.headers["location"], response.headers["etag"]) == (f"/tasks/{task['id']}", '"1"')
    read = await ada.get(response.headers["location"])
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, task, '"1"')
    known = await ada.get(response.headers["location"], headers={"If-None-Match": '"1"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", '"1"')


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_changing_a_task_by_any_part_of_it(ada: Person, method: str) -> None:
    task = await plans(ada, description="All of it")
    address = f"/tasks/{task['id']}"
    changes: list[tuple[dict[str, Any], bool]] = [
        ({"status": "in_progress"}, True),
        ({"title": "Wipe", "description": None}, True),
        ({"title": "Wipe"}, False),
        ({}, False),
        ({"title": "Dust", "description": "", "status": "completed"}, True),
    ]
    for body, grows in changes:
        seen = {"If-Match": f'"{task["version"]}"'}
        response = await ada.call(method, address, json=body, headers=seen)
        task = task | body | {"version": task["version"] + grows}
        assert (response.status_code, response.json()) == (200, task)
        assert response.headers["etag"] == f'"{task["version"]}"'
        assert (await ada.get(address)).json() == task
    assert_problem(await ada.call(method, address, json={}, headers={"If-Match": '"1"'}), 412, "version-mismatch")


async def test_removing_a_task(ada: Person) -> None:
    task = await plans(ada)
    address = f"/tasks/{task['id']}"
    assert_problem(await ada.call("DELETE", address, headers={"If-Match": '"2"'}), 412, "version-mismatch")
    response = await ada.call("DELETE", address, headers={"If-Match": '"1"'})
    assert (response.status_code, response.json()) == (
        200,
        {"message": "Task deleted successfully", "task_id": task["id"]},
    )
    assert_problem(await ada.get(address), 404, "task-not-found")
    assert_problem(await ada.call("DELETE", address), 404, "task-not-found")


async def test_somebody_elses_task_is_answered_as_a_missing_one(ada: Person, bob: Person) -> None:
    task = await plans(ada)
    mine, missing = f"/tasks/{task['id']}", f"/tasks/{bob.id}"
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {} if method == "GET" else {"json": {"title": "Mine"}, "headers": {"If-Match": '"7"'}}
        told = []
        for address in (mine, missing):
            response = await bob.call(method, address, **body)
            assert_problem(response, 404, "task-not-found")
            told.append({k: v for k, v in response.json().items() if k not in {"instance", "request_id"}})
        assert told[0] == told[1]
    for address in ("/tasks", "/tasks/recent", "/tasks/by-status/pending"):
        assert (await bob.get(address)).json()["total"] == 0
    assert (await ada.get(mine)).json() == task


async def test_planning_once(ada: Person) -> None:
    key = {"Idempotency-Key": "k"}
    first = await ada.post("/tasks", json={"title": "Dust"}, headers=key)
    again = await ada.post("/tasks", json={"title": "Dust", "status": "pending", "description": None}, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert (await ada.get("/tasks")).json()["total"] == 1
    reused = await ada.post("/tasks", json={"title": "Wipe"}, headers=key)
    assert_problem(reused, 422, "idempotency-key-reused")


async def test_finding_tasks(ada: Person, clock: SetClock) -> None:
    for title, status in [("b", "pending"), ("a", "completed"), ("B", "pending"), ("a", "cancelled")]:
        await plans(ada, title, status=status)
        clock.move(milliseconds=1)
    for query, expected in [
        ("", "b a B a"),
        ("?sort=title", "B a a b"),
        ("?sort=-title", "b a a B"),
        ("?sort=-created_at", "a B a b"),
        ("?status=pending", "b B"),
        ("?status=in_progress", ""),
        ("?status=pending&sort=title&limit=1", "B"),
        ("?created_after=2026-11-22T12:00:00.123Z", "a B a"),
        ("?created_after=2026-11-22T12:00:00.1239999Z", "a B a"),
        ("?created_after=2026-11-22T14:00:00.124%2B02:00", "B a"),
        ("?created_after=2026-11-22t11:59:59z&status=completed", "a"),
        ("?created_after=9999-12-31T23:59:59Z", ""),
        ("?created_after=0001-01-01T00:00:00Z", "b a B a"),
        ("/by-status/pending", "b B"),
        ("/by-status/pending?skip=1", "B"),
        ("/by-status/in_progress", ""),
    ]:
        assert await titles(ada, f"/tasks{query}") == expected, query


async def test_recent_tasks(ada: Person, container: Container, clock: SetClock) -> None:
    async def later(**by: float) -> None:
        clock.move(**by)
        ada.token = container.tokens().issue(ada.user.id, clock()).token

    for title in ("old", "a", "b", "c"):
        await plans(ada, title)
        await later(days=1)
    await later(days=5)
    assert clock() == NOON + timedelta(days=9)
    assert await titles(ada, "/tasks/recent") == "c"  # and not the one that is seven days old to the millisecond
    assert await titles(ada, "/tasks/recent?days=8") == "b c"
    assert await titles(ada, "/tasks/recent?days=365") == "old a b c"

    page = await ada.get("/tasks/recent?days=30&limit=2")
    assert [task["title"] for task in page.json()["items"]] == ["old", "a"]
    await later(seconds=1)  # the cut-off has moved, the cursor stays good
    assert await titles(ada, page.links["next"]["url"]) == "b c"
    cursor = page.json()["next_cursor"]
    assert_faults(await ada.get(f"/tasks/recent?days=31&cursor={cursor}"), "/cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("/recent?days=0", "days"),
        ("/recent?days=366", "days"),
        ("/recent?days=x", "days"),
        ("/by-status/done", "status"),
        ("/by-status/PENDING", "status"),
        ("/by-status/%00", "status"),
        ("?status=done", "status"),
        ("?status=", "status"),
        ("?sort=status", "sort"),
        *(
            (f"?created_after={time}", "created_after")
            for time in (
                *("", "x", "1", "1795953600", "2026-11-22", "2026-11-22T12:00:00", "2026-11-22 12:00:00Z"),
                *("2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2026-11-22T24:00:01Z"),
                *("0001-01-01T00:00:00%2B01:00", "9999-12-31T23:59:59-00:01", "٢٠٢٦-11-22T12:00:00Z", "PT1H"),
                "2026-11-22T12:00:00+02:00",  # an unescaped plus is a space
            )
        ),
    ],
)
async def test_a_wrong_query_names_its_parameter(ada: Person, query: str, field: str) -> None:
    assert_faults(await ada.get(f"/tasks{query}"), f"/{field}")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"title": ""}, ["/title"]),
        ({"title": " \u3000"}, ["/title"]),
        ({"title": "x" * 201, "description": "x" * 2001}, ["/title", "/description"]),
        ({"title": None, "status": None}, ["/title", "/status"]),
        ({"title": "x", "status": "done"}, ["/status"]),
        ({"title": "x", "status": 1, "description": []}, ["/status", "/description"]),
        ({"title": "x", "owner_id": "x"}, [""]),
        ({"title": "a\0"}, ["/title"]),
    ],
)
async def test_a_wrong_task_names_its_fields(ada: Person, body: dict[str, Any], pointers: list[str]) -> None:
    task = await plans(ada)
    assert_faults(await ada.post("/tasks", json=body), *pointers)
    for method in ("PUT", "PATCH"):
        assert_faults(await ada.call(method, f"/tasks/{task['id']}", json=body), *pointers)
    assert (await ada.get(f"/tasks/{task['id']}")).json() == task


@pytest.mark.parametrize("title", ["x" * 200, " a ", "🪣" * 200])
async def test_the_longest_and_the_oddest_titles(ada: Person, title: str) -> None:
    task = await plans(ada, title, description="x" * 2000)
    assert (await ada.get(f"/tasks/{task['id']}")).json()["title"] == title
