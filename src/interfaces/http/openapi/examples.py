"""Examples of requests and answers for the OpenAPI document, by operation id.

They tell one story: Ada and Grace sign up, Ada signs in, registers an item and adds a task, and hands the item over to
Grace. An operation's example succeeds as it stands on a server where those before it in the story have been sent, and
there is answered as shown here, if the server gives out these ids; tests/http/documentation/test_examples.py does that.

The ids of a real server are others. Its docs page fills in bodies, but leaves the ids in paths empty: an id that no
server has would only be answered with 404. It is to be copied from the answer of the operation that created the object.
"""

from typing import Any

from interfaces.http.responses.problems import explanation, explanations

ADA_ID = "019a9d4c-5f2e-7c11-9a51-3d4f0e6b7a20"
GRACE_ID = "019a9d4c-8c3a-7d02-8b1e-5a6c2f9d4e11"
ITEM_ID = "019a9d4c-5f2e-7c11-9a51-3d4f0e6b7a21"
TASK_ID = "019a9d4d-1b7c-7a45-b3c9-0f8e6d5a2c37"
TRANSFER_ID = "019a9d4d-7e90-7f18-a2d4-6b3c1e8f9a05"
TIME = "2026-11-22T09:30:00.123Z"
PASSWORD = "analytical engine"  # noqa: S105 - nobody's, as the tokens
FIRST_TOKEN = "Yf3k1u8sVhQm0cX2bR7tLwPzN5jD9aGe4oKiT6vB_xU"  # noqa: S105
SECOND_TOKEN = "q2W8eR4tY6uI0oP3aS5dF7gH9jK1lZxC-vB4nM6QwEs"  # noqa: S105

ADA = {"id": ADA_ID, "username": "ada", "is_active": True, "created_at": TIME}
GRACE = {"id": GRACE_ID, "username": "grace", "is_active": True, "created_at": TIME}
ACCOUNT = {**ADA, "email": "ada@example.org"}
NEW_ITEM = {"name": "Bicycle", "description": "Green, with a basket", "price": 149.5}
ITEM = {
    "id": ITEM_ID,
    **NEW_ITEM,
    "owner_id": ADA_ID,
    "owner": {"id": ADA_ID, "username": "ada"},
    "created_at": TIME,
    "version": 1,
}
NEW_TASK = {"title": "Oil the chain", "description": "Before it rains", "status": "pending"}
TASK = {"id": TASK_ID, **NEW_TASK, "created_at": TIME, "version": 1}
COMPLETED_TASK = {**TASK, "status": "completed", "version": 2}
TRANSFER = {
    "id": TRANSFER_ID,
    "item_id": ITEM_ID,
    "number": 1,
    "from_user_id": ADA_ID,
    "to_user_id": GRACE_ID,
    "version": 2,
    "transferred_at": TIME,
}
TOKENS = {
    "access_token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIwMTlhOWQ0YyJ9.Zm9yIHRoZSBkb2N1bWVudCBvbmx5",
    "token_type": "bearer",
    "expires_in": 900,
    "refresh_token": FIRST_TOKEN,
}


def _page(*items: dict[str, Any]) -> dict[str, Any]:
    """Return a page that is the whole list, as PageOut describes it."""
    return {"items": list(items), "total": len(items), "total_exact": True, "skip": 0, "limit": 10, "next_cursor": None}


BODIES: dict[str, dict[str, dict[str, Any]]] = {
    "create_user": {
        "ada": {"email": "ada@example.org", "username": "ada", "password": PASSWORD},
        "grace": {"email": "grace@example.org", "username": "grace", "password": "nanoseconds of wire"},
    },
    "change_account": {"e-mail": {"email": "ada.lovelace@example.org", "current_password": PASSWORD}},
    "sign_in": {"ada": {"grant_type": "password", "username": "ada", "password": PASSWORD}},
    "refresh_session": {"token": {"refresh_token": FIRST_TOKEN}},
    "sign_out": {"token": {"refresh_token": FIRST_TOKEN}},
    "create_item": {"bicycle": NEW_ITEM},
    "change_item": {"price": {"price": 129.0}},
    "transfer_item": {"to Grace": {"to_user_id": GRACE_ID}},
    "create_task": {"chain": NEW_TASK},
    "put_task": {"done": {"status": "completed"}},
    "change_task": {"done": {"status": "completed"}},
}
"""Examples of the bodies that an operation takes, by a name for each."""

ANSWERS: dict[str, Any] = {
    "start": {
        "name": "Handover",
        "summary": "Handover keeps track of who owns what, and hands ownership over safely.",
        "links": {"docs": "/docs", "openapi": "/openapi.json", "live": "/health/live", "ready": "/health/ready"},
    },
    "explain_problem": explanation("version-mismatch"),
    "list_problems": {"items": explanations()},
    "live": {"status": "alive"},
    "ready": {"status": "ready"},
    "read_metrics": "# HELP http_requests_total Requests that were answered.\n# TYPE http_requests_total counter\n",
    "create_user": ACCOUNT,
    "read_account": ACCOUNT,
    "read_user": ACCOUNT,
    "change_account": {**ACCOUNT, "email": "ada.lovelace@example.org"},
    "list_users": _page(ADA, GRACE),
    "sign_in": TOKENS,
    "refresh_session": {**TOKENS, "refresh_token": SECOND_TOKEN},
    "create_item": ITEM,
    "read_item": ITEM,
    "list_items": _page(ITEM),
    "list_items_of_user": _page(ITEM),
    "change_item": {**ITEM, "price": 129.0, "version": 2},
    "transfer_item": {**ITEM, "owner_id": GRACE_ID, "owner": {"id": GRACE_ID, "username": "grace"}, "version": 2},
    "list_transfers": _page(TRANSFER),
    "create_task": TASK,
    "read_task": TASK,
    "list_tasks": _page(TASK),
    "list_tasks_by_status": _page(TASK),
    "list_recent_tasks": _page(TASK),
    "put_task": COMPLETED_TASK,
    "change_task": COMPLETED_TASK,
    "delete_task": {"message": "Task deleted successfully", "task_id": TASK_ID},
}
"""What each operation with a body in its answer answers to its first example."""

PARAMETERS: dict[str, Any] = {
    "user_id": ADA_ID,
    "owner_id": ADA_ID,
    "item_id": ITEM_ID,
    "task_id": TASK_ID,
    "slug": "version-mismatch",
    "status": "pending",
    "skip": 0,
    "sort": "-created_at",
}
"""Examples of parameters that do not declare their own. A cursor has none, because only a server can make one."""

WHERE_IDS_COME_FROM = {
    "user_id": "The `id` of a user, as `POST /users`, `GET /users` and `GET /users/me` answer it.",
    "item_id": "The `id` of an item, as `POST /items` and `GET /items` answer it.",
    "task_id": "The `id` of a task, as `POST /tasks` and `GET /tasks` answer it.",
}
"""Descriptions of ids in paths, which the docs page leaves empty."""

FILLED_IN = {"slug", "status"}
"""Parameters in paths whose example is valid on every server. The docs page fills it in."""


def add_examples(operation: dict[str, Any]) -> None:
    """Add examples to an operation of the document: to its parameters, its body and its successful answer."""
    name = operation["operationId"]
    for parameter in operation.get("parameters", []):
        schema, example = parameter["schema"], PARAMETERS.get(parameter["name"])
        if parameter["in"] == "path" and parameter["name"] in FILLED_IN:
            parameter["example"] = example
        elif example is not None and not {"examples", "default"} & schema.keys():
            schema["examples"] = [example]
        if parameter["in"] == "path" and parameter["name"] in WHERE_IDS_COME_FROM:
            parameter["description"] = WHERE_IDS_COME_FROM[parameter["name"]]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["examples"] = {title: {"value": value} for title, value in BODIES.get(name, {}).items()}
    for status, response in operation["responses"].items():
        if status.startswith("2") and name in ANSWERS:
            media_type = next(iter(response["content"]))
            response["content"][media_type]["example"] = ANSWERS[name]
