"""The committed OpenAPI document is the code's, and the comparison notices each kind of change that breaks clients."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from interfaces.certification.parity.document import document
from tests.http.support.compatibility import breaking_changes

COMMITTED = Path(__file__).parents[3] / "openapi.json"

Change = Callable[[dict[str, Any]], object]


def operation(content: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = content["paths"][path][method]
    return found


def fields(content: dict[str, Any], model: str) -> dict[str, Any]:
    found: dict[str, Any] = content["components"]["schemas"][model]["properties"]
    return found


def test_the_committed_document_is_that_of_the_code() -> None:
    committed = json.loads(COMMITTED.read_text())
    if committed != document():
        breaking = breaking_changes(committed, document())
        listed = "\n".join(f"breaking: {change}" for change in breaking) or "No client would break."
        pytest.fail(f"openapi.json is not the code's document: run `make openapi` and look at what changed.\n{listed}")


def test_nothing_breaks_where_nothing_changed() -> None:
    assert breaking_changes(document(), deepcopy(document())) == []


HARMLESS: dict[str, Change] = {
    "an operation more": lambda new: new["paths"].update({"/new": {"get": {"operationId": "new", "responses": {}}}}),
    "an optional parameter more": lambda new: operation(new, "/items", "get")["parameters"].append(
        {"in": "query", "name": "colour", "schema": {"type": "string"}}
    ),
    "an optional field more in a request": lambda new: fields(new, "ItemIn").update(colour={"type": "string"}),
    "a field more in an answer": lambda new: fields(new, "ItemOut").update(colour={"type": "string"}),
    "a longer text in a request": lambda new: fields(new, "ItemIn")["name"].update(maxLength=300),
    "a value more in a request": lambda new: operation(new, "/items", "get")["parameters"][0].update(description="new"),
    "another summary": lambda new: operation(new, "/items", "get").update(summary="new"),
    "a required field less in a request": lambda new: new["components"]["schemas"]["ItemIn"]["required"].remove("name"),
}

BREAKING: dict[str, tuple[Change, str]] = {
    "an operation is gone": (lambda new: new["paths"]["/items/{item_id}"].pop("delete"), "the operation is gone"),
    "a path is gone": (lambda new: new["paths"].pop("/tasks/recent"), "the operation is gone"),
    "an operation has another name": (
        lambda new: operation(new, "/items", "get").update(operationId="find_items"),
        "called find_items",
    ),
    "an open operation needs sign-in": (lambda new: operation(new, "/users", "post").pop("security"), "needs sign-in"),
    "a parameter is gone": (
        lambda new: operation(new, "/items", "get").update(parameters=[]),
        "the parameter owner_id is gone",
    ),
    "a parameter is required": (
        lambda new: operation(new, "/items/{item_id}", "patch")["parameters"][-1].update(required=True),
        "the parameter If-Match is newly required",
    ),
    "a parameter has another type": (
        lambda new: operation(new, "/items/{item_id}", "get")["parameters"][-1]["schema"].update(type="array"),
        "refused as string",
    ),
    "a field of a request is gone": (
        lambda new: fields(new, "ItemIn").pop("description"),
        "description is accepted no",
    ),
    "a field of a request is required": (
        lambda new: new["components"]["schemas"]["ItemIn"]["required"].append("description"),
        "description is newly required",
    ),
    "a new field of a request is required": (
        lambda new: (
            fields(new, "ItemIn").update(colour={"type": "string"}),
            new["components"]["schemas"]["ItemIn"]["required"].append("colour"),
        ),
        "colour is newly required",
    ),
    "a text of a request is shorter": (lambda new: fields(new, "ItemIn")["name"].update(maxLength=100), "maxLength"),
    "a text of a request has another pattern": (
        lambda new: fields(new, "UserIn")["username"].update(pattern="^[a-z]+$"),
        "pattern",
    ),
    "null is refused": (
        lambda new: fields(new, "ItemIn")["description"].update(anyOf=[{"type": "string"}]),
        "refused as null",
    ),
    "a value of a request is gone": (
        lambda new: new["components"]["schemas"]["TaskStatus"]["enum"].remove("cancelled"),
        "'cancelled' is accepted no longer",
    ),
    "a value of an answer is new": (
        lambda new: new["components"]["schemas"]["TaskStatus"]["enum"].append("blocked"),
        "the value 'blocked' now",
    ),
    "a field of an answer is gone": (lambda new: fields(new, "ItemOut").pop("price"), "the field price is gone"),
    "a nested field of an answer is gone": (lambda new: fields(new, "OwnerOut").pop("username"), "username is gone"),
    "a field of an answer may be missing": (
        lambda new: new["components"]["schemas"]["ItemOut"]["required"].remove("price"),
        "price may be missing",
    ),
    "a field of an answer may be null": (
        lambda new: fields(new, "ItemOut").update(price={"anyOf": [{"type": "number"}, {"type": "null"}]}),
        "may be null",
    ),
    "a field of an answer has another type": (
        lambda new: fields(new, "ItemOut")["price"].update(type="string"),
        "may be string",
    ),
    "an answer is gone": (
        lambda new: operation(new, "/items/{item_id}", "get")["responses"].pop("304"),
        "the answer 304 is gone",
    ),
    "a header of an answer is gone": (
        lambda new: operation(new, "/items/{item_id}", "get")["responses"]["200"]["headers"].pop("ETag"),
        "the header ETag no longer",
    ),
    "a media type of an answer is gone": (
        lambda new: operation(new, "/", "get")["responses"]["200"]["content"].pop("text/html"),
        "text/html no longer",
    ),
    "a media type of a request is gone": (
        lambda new: operation(new, "/auth/token", "post")["requestBody"].update(content={}),
        "takes application/x-www-form-urlencoded no longer",
    ),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_that_breaks_nothing_is_not_listed(change: str) -> None:
    new = deepcopy(document())
    HARMLESS[change](new)
    assert new != document()
    assert breaking_changes(document(), new) == []


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_clients_is_listed(change: str) -> None:
    new = deepcopy(document())
    make_change, told = BREAKING[change]
    make_change(new)
    assert any(told in line for line in breaking_changes(document(), new)), breaking_changes(document(), new)
