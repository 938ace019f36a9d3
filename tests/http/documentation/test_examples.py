"""The examples of the OpenAPI document: requests, sent as they stand, and what they are answered with; and problems."""

import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from dependency_injector import providers
from httpx2 import AsyncClient, Response

from infrastructure.container import build_container, open_store
from interfaces.certification.parity.document import IN_MEMORY, declared_problems, document, operations
from interfaces.certification.parity.story import exchanges_in_memory
from interfaces.http.openapi import examples
from interfaces.testing.clock_and_ids import CountingIds, SetClock
from interfaces.testing.fakes import FakePasswords
from tests.http.support.client import app_of, client_of

SIGNED_UP = ["create_user ada", "create_user grace", "sign_in"]
EVERYTHING = [*SIGNED_UP, "create_item", "create_task"]
BEFORE = {
    "create_user": [],
    "create_item": SIGNED_UP,
    "create_task": SIGNED_UP,
    "list_transfers": [*EVERYTHING, "transfer_item"],
    "delete_account": [*EVERYTHING, "transfer_item"],  # it is refused to those who own items
}
"""The examples that are sent before that of an operation, so that it finds what it is about; else EVERYTHING."""
IDS = {
    "create_user ada": examples.ADA_ID,
    "create_user grace": examples.GRACE_ID,
    "create_item": examples.ITEM_ID,
    "create_task": examples.TASK_ID,
    "transfer_item": examples.TRANSFER_ID,
}
EXPLAINED = {
    "etag",
    "idempotency-replayed",
    "link",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
}
"""Headers that clients should know of."""
TOKENS = {"sign_in": examples.FIRST_TOKEN, "refresh_session": examples.SECOND_TOKEN}
PLACES = {
    operation["operationId"]: (path, method, operation)
    for path, all_ in document()["paths"].items()
    for method, operation in all_.items()
}


class Reader:
    """A reader of the document, who sends its examples to a server that is new and empty."""

    def __init__(self, http: AsyncClient) -> None:
        self.http = http
        self.headers: dict[str, str] = {}

    async def send(self, step: str) -> Response:
        """Send the first example of an operation, or the one that is named after it."""
        name, _, title = step.partition(" ")
        path, method, operation = PLACES[name]
        request: dict[str, Any] = {"params": {}, "headers": dict(self.headers)}
        for parameter in operation.get("parameters", []):
            if (example := example_of(parameter)) is None:
                continue
            match parameter["in"]:
                case "path":
                    path = path.replace(f"{{{parameter['name']}}}", example)
                case "query":
                    request["params"][parameter["name"]] = example
                case "header":
                    request["headers"][parameter["name"]] = example
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            titles = content["examples"]
            kind = "json" if media_type == "application/json" else "data"
            request[kind] = titles[title or next(iter(titles))]["value"]
        response = await self.http.request(method, path, **request)
        if name == "sign_in":
            self.headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        return response


def example_of(parameter: dict[str, Any]) -> Any:
    return parameter.get("example", next(iter(parameter["schema"].get("examples", [])), None))


def fits(value: object, schema: dict[str, Any]) -> bool:
    """Whether it is valid by a schema of the document."""
    whole = {**schema, "components": document()["components"]}
    return bool(jsonschema_rs.validator_for(whole, validate_formats=True).is_valid(value))


@pytest.fixture
async def reader(request: pytest.FixtureRequest) -> AsyncIterator[Reader]:
    """A server gives out the ids and tokens of the examples, since it could not give them out by chance."""
    step = ""
    counting = CountingIds()
    container = build_container(IN_MEMORY)
    container.store.override(providers.Object(open_store(IN_MEMORY)))
    container.now.override(providers.Object(SetClock(datetime.fromisoformat(examples.TIME))))
    container.ids.override(providers.Object(lambda: UUID(IDS[step]) if step in IDS else counting()))
    container.new_token.override(providers.Object(lambda: TOKENS[step]))
    container.passwords.override(providers.Object(FakePasswords()))

    class Here(Reader):
        async def send(self, next_step: str) -> Response:
            nonlocal step
            step = next_step
            return await super().send(next_step)

    async with client_of(app_of(container)) as http:
        yield Here(http)


@pytest.mark.parametrize("name", operations())
async def test_an_example_as_it_stands(name: str, reader: Reader) -> None:
    before = BEFORE.get(name, EVERYTHING)
    for step in before:
        assert (await reader.send(step)).is_success
    response = await reader.send("create_user ada" if name == "create_user" else name)
    declared = operations()[name]["responses"].get(str(response.status_code))
    assert declared is not None
    assert response.is_success, response.text
    if response.content:
        media_type = next(iter(declared["content"]))
        assert response.headers["content-type"].startswith(media_type)
        shown = declared["content"][media_type]["example"]
        if media_type == "text/plain":
            assert shown in response.text
        else:
            answered = response.json()
            assert fits(answered, declared["content"][media_type]["schema"])
            if "access_token" in shown:  # which is different each time
                shown = {**shown, "access_token": answered["access_token"]}
            assert answered == shown


async def test_an_example_of_a_problem_is_one_that_is_sent() -> None:
    sent = defaultdict(list)
    for exchange in await exchanges_in_memory():
        if exchange.operation and exchange.problem:
            sent[exchange.operation, exchange.problem].append(comparable(exchange.operation, json.loads(exchange.body)))
    before_routing = {("start", "bad-request"), ("live", "bad-request"), ("ready", "bad-request")}
    for name, problem in declared_problems() - before_routing:
        shown = comparable(name, problem_example(name, problem))
        assert shown in sent[name, problem], f"correct the example in declared_problems.py: {name} {problem}"


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready"])
async def test_an_example_of_a_problem_before_routing_is_one_that_is_sent(path: str, reader: Reader) -> None:
    [name] = (name for name, (template, *_) in PLACES.items() if template == path)
    answer = (await reader.http.get(path, headers={"Host": "not a host"})).json()
    assert comparable(name, answer) == comparable(name, problem_example(name, "bad-request"))


async def test_the_examples_are_those_of_real_access_tokens_too(reader: Reader) -> None:
    answer = (await reader.http.get("/users/me", headers={"Authorization": "Bearer x"})).json()
    assert comparable("read_account", answer) == comparable(
        "read_account", problem_example("read_account", "invalid-token")
    )


async def test_headers_of_responses_are_documented() -> None:
    """Of the story; `Vary` is explained elsewhere."""
    for exchange in await exchanges_in_memory():
        if exchange.operation and exchange.status != 405:
            responses = operations()[exchange.operation]["responses"]
            documented = {
                name.lower(): described(header) for name, header in responses[str(exchange.status)]["headers"].items()
            }
            sent = {name: value for name, value in exchange.headers if name in EXPLAINED}
            assert sent.keys() <= documented.keys(), exchange.request
            for name, value in sent.items():
                schema = documented[name]["schema"]
                assert fits(int(value) if schema["type"] == "integer" else value, schema), (exchange.request, name)


def described(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header's description, which may be one that many responses refer to."""
    common = document()["components"]["headers"]
    return dict(common[header["$ref"].rpartition("/")[2]] if "$ref" in header else header)


def test_repeated_answers_are_marked_where_a_key_is_taken() -> None:
    for name, operation in operations().items():
        takes_key = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
        for status, response in operation["responses"].items():
            is_marked = "Idempotency-Replayed" in response["headers"]
            assert is_marked == (takes_key and status.startswith("2")), (name, status)


def problem_example(name: str, problem: str) -> dict[str, Any]:
    """Return the example of a problem of an operation."""
    responses = operations()[name]["responses"].values()
    contents = (response.get("content", {}).get("application/problem+json", {}) for response in responses)
    [example] = (
        content["examples"][problem]["value"] for content in contents if problem in content.get("examples", {})
    )
    assert fits(example, {"$ref": "#/components/schemas/Problem"})
    return dict(example)


def comparable(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a problem without its request id, and with the operation's path template as its instance.

    The name of the engine, which readiness says, is left out.
    """
    template, *_ = PLACES[name]
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), body["instance"])
    detail = re.sub(r"the store \(\w+\)", "the store", body["detail"])
    return {**body, "detail": detail, "instance": template, "request_id": ""}


@pytest.mark.parametrize("name", operations())
def test_everything_that_an_operation_takes_and_answers_has_an_example_that_is_valid(name: str) -> None:
    operation = operations()[name]
    for parameter in operation.get("parameters", []):
        if parameter["name"] != "cursor" and "default" not in parameter["schema"]:
            assert example_of(parameter) is not None, parameter["name"]
            assert fits(example_of(parameter), parameter["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert content["examples"]
        assert all(fits(example["value"], content["schema"]) for example in content["examples"].values())
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            if int(status) < 300 and content is next(iter(response["content"].values())):
                assert fits(content["example"], content["schema"])


def test_no_example_is_of_an_operation_that_is_gone() -> None:
    assert {*examples.BODIES, *examples.ANSWERS} <= operations().keys()
    assert {*BEFORE, *TOKENS} <= operations().keys()
