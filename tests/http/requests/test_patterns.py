"""The document and the service agree on which texts are valid, character by character, for every field of a body."""

import re
from typing import Any
from unicodedata import category
from uuid import UUID

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from interfaces.http.routes.items import ItemChangesIn, ItemIn
from interfaces.http.routes.sessions import RefreshIn, SignInIn
from interfaces.http.routes.tasks import TaskChangesIn, TaskIn
from interfaces.http.routes.transfers import TransferIn
from interfaces.http.routes.users import AccountChangesIn, UserIn
from interfaces.http.validation.fields import QueryTime
from interfaces.http.validation.models import InputModel

VALID: dict[type[InputModel], dict[str, Any]] = {
    ItemIn: {"name": "Bicycle", "description": "Green, with a basket", "price": 1},
    ItemChangesIn: {"name": "Bicycle", "description": "Green, with a basket"},
    TaskIn: {"title": "Oil the chain", "description": "Not the brakes"},
    TaskChangesIn: {"title": "Oil the chain", "description": "Not the brakes"},
    TransferIn: {"to_user_id": str(UUID(int=7))},
    UserIn: {"email": "ada@example.org", "username": "ada", "password": "correct horse battery"},
    AccountChangesIn: {"email": "ada@example.org", "password": "correct horse battery", "current_password": "x"},
    SignInIn: {"username": "ada", "password": "correct horse battery"},
    RefreshIn: {"refresh_token": "x"},
}
CHARACTERS = [
    character
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x10000), 0x10000, 0x1F4A1, 0xE0001, 0x10FFFF])
    if character < "\u0180" or character > "\uffef" or category(character) in {"Cc", "Cf", "Zl", "Zp", "Zs"}
]
"""All white space, control and format characters below U+10000, and some of all other kinds."""


def fields() -> list[tuple[type[InputModel], str]]:
    """Every field that is a text of any characters."""
    return [
        (model, name)
        for model in VALID
        for name in VALID[model]
        if (schema := schema_of(model, name)).get("type") == "string" and "uuid" not in schema.get("format", "")
    ]


def schema_of(model: type[BaseModel], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()["properties"][name]
    return next((kind for kind in schema.get("anyOf", []) if kind["type"] == "string"), schema)


def allows(schema: dict[str, Any], text: str) -> bool:
    long_enough = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    pattern = re.sub(r"\$$", r"\\Z", schema.get("pattern", ""))  # in JavaScript it is not before a last newline
    return long_enough and re.search(pattern, text) is not None


def is_accepted(model: type[InputModel], body: dict[str, Any]) -> bool:
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


def test_every_body_is_tried() -> None:
    assert set(VALID) == set(InputModel.__subclasses__())
    assert len(fields()) >= 14


@pytest.mark.parametrize(("model", "field"), fields(), ids=lambda value: getattr(value, "__name__", value))
def test_a_field_accepts_what_its_schema_allows(model: type[InputModel], field: str) -> None:
    body, schema = VALID[model], schema_of(model, field)
    texts = [body[field], "", " ", "@", "a@b\n", "\0" * 8]
    for character in CHARACTERS:
        texts += [character, character * 8, body[field][:1] + character + body[field][1:], body[field] + character]
    disputed = [text for text in texts if is_accepted(model, {**body, field: text}) != allows(schema, text)]
    assert disputed == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2026-11-22T09:30:00Z",
            "2026-11-22t09:30:00.123456789z",
            "2026-11-22T23:59:59+23:59",
            "0001-01-02T00:00:00Z",
        ),
        *(
            "2016-12-31T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:00:00-01:00",
        ),
        *("2026-11-22T09:30Z", "2026-11-22 09:30:00Z", "2026-11-22T09:30:00", "2026-11-22T24:00:00Z", "2026-11-22"),
        *("2026-11-22T09:30:00+1:00", "2026-11-22T09:30:00+24:00", "2026-11-22T09:30:00,5Z", "2026-11-22T09:30:00Z\n"),
    ],
)
def test_a_time_is_accepted_if_its_schema_allows_it(text: str) -> None:
    times = TypeAdapter(QueryTime)
    try:
        times.validate_python(text)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == allows(times.json_schema(), text)
