"""The documents: OpenAPI, the docs page, and the explanation of each problem; and that they tell the truth."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import TypeAdapter

import application
import domain
from application.readers import UserReader
from application.store import Store
from domain import errors
from interfaces.certification.database import NewDatabase
from interfaces.certification.parity.document import declared_problems
from interfaces.certification.parity.document import document as described
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.error_handling import KINDS
from interfaces.http.openapi.annotations import PageOut
from interfaces.http.openapi.examples import ADA_ID, GRACE_ID, ITEM_ID, TASK_ID, TRANSFER_ID
from interfaces.http.responses.problems import PROBLEMS
from interfaces.http.routes.items import ItemOut
from interfaces.http.routes.sessions import TokensOut
from interfaces.http.routes.transfers import TransferOut
from interfaces.http.routes.users import AccountOut
from tests.http.support.client import Person

CHECKED_BY_ROUTES = ["invalid-email", "invalid-password", "invalid-price", "invalid-text", "invalid-username"]
"""Codes of rules about single fields. Routes apply these rules first, and answer `invalid-request`."""


def raised_codes() -> dict[str, str]:
    """Every code that the rules can raise, with its kind."""
    codes = {}
    folders = [Path(str(package.__file__)).parent for package in (domain, application)]
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=kind), args=[ast.Constant(value=str(code)), *_]) if is_error(kind):
                    codes[code] = kind
    return codes


def is_error(name: str) -> bool:
    kind = getattr(errors, name, None)
    return isinstance(kind, type) and issubclass(kind, errors.DomainError)


def test_every_refusal_is_explained_with_the_status_that_it_gets() -> None:
    codes = raised_codes()
    assert {"item-not-owned", "invalid-price", "recipient-inactive", "wrong-credentials"} <= codes.keys()
    for code, kind in codes.items():
        slug = "invalid-request" if code in CHECKED_BY_ROUTES else code
        assert PROBLEMS[slug].status == KINDS[getattr(errors, kind)].status, code


def test_every_problem_can_be_answered() -> None:
    """By an operation that declares it, or to any request, as the table in the document says."""
    of_operations = {slug for _, slug in declared_problems()}
    of_any_request = {*re.findall(r"^\| \d{3} \| `([a-z-]+)` \|", described()["info"]["description"], re.MULTILINE)}
    assert of_any_request >= {"not-found", "internal-error"}
    assert of_operations | of_any_request == PROBLEMS.keys()


@pytest.mark.parametrize("code", CHECKED_BY_ROUTES)
async def test_a_rule_that_a_route_has_not_checked_is_an_invalid_request(app: FastAPI, ada: Person, code: str) -> None:
    async def refuse(*_: object) -> None:
        raise errors.Invalid(code, "not this one", "name")

    app.state.use_cases_and_ports = {**app.state.use_cases_and_ports, UserReader: SimpleNamespace(get=refuse)}
    response = await ada.get(f"/users/{ada.id}")
    assert_problem(response, 422, "invalid-request")
    assert response.json()["errors"] == [{"pointer": "/name", "detail": "not this one"}]
    assert_problem(await ada.get(f"/problems/{code}"), 404, "not-found")


async def test_examples_of_ids_are_of_what_they_name(http: AsyncClient) -> None:
    schemas = (await document(http))["components"]["schemas"]
    for model, ids in {
        "ItemOut": {"id": ITEM_ID, "owner_id": ADA_ID},
        "OwnerOut": {"id": ADA_ID},
        "ProfileOut": {"id": ADA_ID},
        "AccountOut": {"id": ADA_ID},
        "TaskOut": {"id": TASK_ID},
        "DeletedTaskOut": {"task_id": TASK_ID},
        "TransferOut": {"id": TRANSFER_ID, "item_id": ITEM_ID, "from_user_id": ADA_ID, "to_user_id": GRACE_ID},
        "TransferIn": {"to_user_id": GRACE_ID},
    }.items():
        fields = schemas[model]["properties"].items()
        assert {name: field["examples"][0] for name, field in fields if field.get("format") == "uuid"} == ids, model


def test_every_kind_of_refusal_has_a_status() -> None:
    kinds = [getattr(errors, name) for name in vars(errors) if is_error(name) and name != "DomainError"]
    assert len(kinds) >= 6
    assert all(kind in KINDS for kind in kinds)


@pytest.mark.parametrize("slug", PROBLEMS)
async def test_a_problem_explains_itself(http: AsyncClient, slug: str) -> None:
    explained = (await http.get(f"/problems/{slug}")).json()
    assert explained["type"] == f"/problems/{slug}"
    assert explained["status"] == PROBLEMS[slug].status
    assert explained["title"]
    assert explained["explanation"].endswith(".")
    assert explained in (await http.get("/problems")).json()["items"]


async def test_all_problems_are_listed_once_by_status(http: AsyncClient) -> None:
    listed = (await http.get("/problems")).json()["items"]
    assert sorted(problem["type"] for problem in listed) == sorted(f"/problems/{slug}" for slug in PROBLEMS)
    assert [problem["status"] for problem in listed] == sorted(problem.status for problem in PROBLEMS.values())


async def test_the_docs_page_needs_no_internet(http: AsyncClient) -> None:
    page = (await http.get("/docs")).text
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("/"), address
        response = await http.get(address)
        assert response.status_code == 200, address
        assert len(response.content) > 500


async def document(http: AsyncClient) -> dict[str, Any]:
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    content: dict[str, Any] = response.json()
    return content


async def test_the_document_names_every_operation_and_what_it_answers(http: AsyncClient) -> None:
    content = await document(http)
    operations = [operation for path in content["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert {"create_user", "sign_in", "read_account", "create_item", "read_item", "transfer_item"} < set(names)
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"].keys() == {"application/problem+json"}
    transfer = content["paths"]["/items/{item_id}/transfer"]["post"]
    assert {"200", "401", "403", "404", "409", "412", "413", "415", "422", "503"} <= transfer["responses"].keys()
    assert "item-not-owned" in transfer["responses"]["403"]["content"]["application/problem+json"]["examples"]
    assert "x-problems" not in str(content)
    assert "HTTPValidationError" not in str(content)


async def test_no_line_of_a_description_becomes_a_list_by_mistake(http: AsyncClient) -> None:
    """Descriptions are Markdown: a line that begins with `412.`, by its line break, would be an item of a list."""

    def descriptions(content: Any) -> Iterator[str]:
        if isinstance(content, dict):
            yield from (value for key, value in content.items() if key == "description" and isinstance(value, str))
        if isinstance(content, dict | list):
            for inner in content.values() if isinstance(content, dict) else content:
                yield from descriptions(inner)

    found = [*descriptions(await document(http))]
    assert len(found) > 100
    assert [text for text in found if re.search(r"^\s*(\d+[.)]|[-+*#>]) ", text, re.MULTILINE)] == []


async def test_signing_in_from_the_docs_page(http: AsyncClient) -> None:
    content = await document(http)
    (name,) = content["security"][0]
    flow = content["components"]["securitySchemes"][name]["flows"]["password"]
    assert f"/{flow['tokenUrl']}" in content["paths"]


async def test_answers_are_as_documented(http: AsyncClient, ada: Person, bob: Person) -> None:
    def conforms(kind: Any, content: bytes) -> bool:
        TypeAdapter(kind).validate_json(content, strict=True, extra="forbid")
        return True

    created = await ada.post("/items", json={"name": "Lamp", "price": 1})
    address = created.headers["location"]
    assert conforms(ItemOut, created.content)
    assert conforms(ItemOut, (await ada.hands_over(created.json(), bob)).content)
    assert conforms(ItemOut, (await ada.get(address)).content)
    assert conforms(PageOut[TransferOut], (await ada.get(f"{address}/transfers")).content)
    assert conforms(AccountOut, (await ada.get("/users/me")).content)
    body = {"email": "eve@example.org", "username": "eve", "password": "correct horse"}
    assert conforms(AccountOut, (await http.post("/users", json=body)).content)
    token = await http.post("/auth/token", data={"username": "eve", "password": "correct horse"})
    assert conforms(TokensOut, token.content)


async def test_ready_only_with_a_current_schema(
    app: FastAPI, http: AsyncClient, new_database: NewDatabase, engine: str
) -> None:
    async with new_database() as fresh:
        app.state.use_cases_and_ports = {**app.state.use_cases_and_ports, Store: fresh.store}
        if engine != "memory":  # which has no schema to lack
            behind = await http.get("/health/ready")
            assert_problem(behind, 503, "store-unavailable")
            assert "handover migrate up" in behind.json()["detail"]
            await fresh.store.upgrade()
        assert (await http.get("/health/ready")).status_code == 200
        assert (await http.get("/health/live")).status_code == 200
