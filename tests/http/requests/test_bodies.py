"""Nothing that is sent gives a 500, each refusal names the field, and none repeats what was sent."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response

from interfaces.certification.parity.document import document
from interfaces.certification.parity.problems import assert_problem
from tests.http.support.client import Person, assert_faults

JSON = {"Content-Type": "application/json"}
LIMIT = 64 * 1024
MARK = "xSUBMITTEDx"


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def register(person: Person, content: bytes | str) -> Response:
    return await person.post("/items", content=content, headers=JSON)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"true",
        b"{",
        b'{"name": "x", "price": 1',
        b"{'name': 'x'}",
        b'{"name": "x", "name": "x", "price": 1}',
        b'{"name": "x", "price": NaN}',
        b'{"name": "x", "price": Infinity}',
        b'{"name": "x", "price": -Infinity}',
        b'{"name": "x", "price": ' + b"9" * 5000 + b"}",
        b'{"name": "x", "price": 1e99999999999999999999}',
        b'{"name": "x", "price": 1e-99999999999999999999}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"\xff\xfe",
        b'{"name": "\xff", "price": 1}',
        b'{"name": "\xed\xa0\x80", "price": 1}',
        '{"name": "x", "price": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"name": "x", "price": 1}',
        b'{"name": "x", "price": 1} {}',
        b'{"name": "x\ny", "price": 1}',
        b'{"name": "x", "price": 01}',
        b'{"name": "x", "price": .5}',
    ],
)
async def test_what_is_no_json_object(ada: Person, content: bytes) -> None:
    assert_faults(await register(ada, content), "")


JSON_TYPES = [b"null", b"true", b'"x"', b"0", b"-1", b"1.5", b"-1.4e-275", b"[]", b"[{}]", b"[[1.5]]"]
TAKE_JSON = {
    name: (method.upper(), re.sub("{status}", "pending", re.sub(r"{\w+_id}", str(UUID(int=7)), path)))
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
    for name in [operation["operationId"]]
    if "application/json" in operation.get("requestBody", {}).get("content", {})
}


@pytest.mark.parametrize("operation", TAKE_JSON)
async def test_no_operation_takes_anything_but_an_object(ada: Person, operation: str) -> None:
    for content in JSON_TYPES:
        assert_faults(await ada.call(*TAKE_JSON[operation], content=content, headers=JSON), "")


def test_every_operation_that_takes_json_was_tried() -> None:
    assert {"create_user", "change_account", "change_item", "change_task", "put_task", "transfer_item"} < set(TAKE_JSON)
    assert len(TAKE_JSON) >= 10


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "name",
            ["null", "1", "true", "[]", "{}", '""', '" "', '"\\u3000"', f'"{"x" * 201}"', '"\\u0000"', '"\\ud800"'],
        ),
        ("description", ["1", "false", "[]", f'"{"x" * 2001}"', '"a\\u0000b"', '"\\udfff\\ud800"']),
        (
            "price",
            [
                *("null", '"1.00"', "true", "false", "[]", "{}", "-1", "-0.01", "1.001", "1.2300001", "10000000000"),
                *("9999999999.991", "1e10", "1e400", "1e-400", "9" * 4000, f"1.{'0' * 4000}1"),
            ],
        ),
    ],
)
async def test_a_wrong_value_names_its_field(ada: Person, field: str, values: list[str]) -> None:
    for value in values:
        fields = {"name": '"x"', "price": "1"} | {field: value}
        content = "{" + ", ".join(f'"{name}": {literal}' for name, literal in fields.items()) + "}"
        assert_faults(await register(ada, content), f"/{field}")


async def test_all_faults_are_told_at_once(ada: Person) -> None:
    assert_faults(
        await ada.post("/items", json={"name": "", "description": 1, "price": "1"}), "/name", "/description", "/price"
    )
    assert_faults(await ada.post("/items", json={}), "/name", "/price")


@pytest.mark.parametrize("name", [MARK, "owner_id", "", "\0", "\\ud800", "a/b~c", "__class__"])
async def test_an_unknown_field_is_told_of_its_parent(ada: Person, name: str) -> None:
    name = name.replace("\0", "\\u0000")
    response = await register(ada, f'{{"name": "x", "price": 1, "{name}": 1}}')
    assert_faults(response, "")
    assert MARK not in response.text


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "ada"},
        {"email": "a b@example.org"},
        {"email": "@example.org"},
        {"email": "ada@"},
        {"email": f"{'x' * 250}@example.org"},
        {"email": 1},
        {"username": "ab"},
        {"username": "a" * 51},
        {"username": "adä"},
        {"username": "ada\n"},
        {"username": "a b c"},
        {"username": None},
        {"password": "1234567"},
        {"password": "x" * 129},
        {"password": "12345678\0"},
        {"password": ["12345678"]},
    ],
)
async def test_signing_up_with_a_wrong_value(http: AsyncClient, fields: dict[str, Any]) -> None:
    body = {"email": "ada@example.org", "username": "ada", "password": "correct horse"} | fields
    assert_faults(await http.post("/users", json=body), *(f"/{field}" for field in fields))


@pytest.mark.parametrize(
    ("form", "pointer"),
    [
        ({}, "/username /password"),
        ({"username": "ada"}, "/password"),
        ({"username": "ada\0", "password": "x"}, "/username"),
        ({"username": "ada", "password": "\0"}, "/password"),
        ({"username": "ada", "password": "x" * 129}, "/password"),
        ({"username": "a" * 255, "password": "x"}, "/username"),
        ({"username": "ada", "password": "x", "grant_type": "client_credentials"}, "/grant_type"),
    ],
)
async def test_signing_in_with_a_wrong_form(http: AsyncClient, form: dict[str, str], pointer: str) -> None:
    response = await http.post("/auth/token", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert_faults(response, *pointer.split())


@pytest.mark.parametrize("value", ["x", "", None, 1, True, [], "0" * 31, "0" * 36, f"{MARK}"])
async def test_a_recipient_that_is_no_id(ada: Person, value: object) -> None:
    item = await ada.registers()
    assert_faults(await ada.post(f"/items/{item['id']}/transfer", json={"to_user_id": value}), "/to_user_id")


async def test_a_refusal_says_how_to_mend_the_request(ada: Person) -> None:
    item = b'{"name": "x", "price": 1}'
    told = [
        (await register(ada, b"\xef\xbb\xbf" + item), "is not valid JSON: begins with a byte order mark"),
        (
            await register(ada, b'{"name": "x",\n "price" 1}'),
            "is not valid JSON: Expecting ':' delimiter" + place(2, 10),
        ),
        (await register(ada, b'{"name": "x'), "is not valid JSON: Unterminated string starting" + place(1, 10)),
        (await register(ada, b'{"name": "\xc3\xa9\n"}'), "is not valid JSON: Invalid control character" + place(1, 12)),
        (await register(ada, b'{"name": "x", "name": "x"}'), "is not valid JSON: a field is there twice"),
        (await register(ada, b"null"), "must be an object"),
        (await register(ada, b""), "is required"),
        (await ada.get("/tasks?created_after=2026-02-30T00:00:00Z"), "is not a date that exists"),
        (await ada.get("/tasks?created_after=2026-13-01T00:00:00Z"), "is not a date that exists"),
        (await ada.get("/tasks?created_after=2026-11-22T14:00:00+02:00"), "in an address write + as %2B, or use Z"),
        (await ada.get("/tasks?cursor=x"), "send next_cursor as it was, or leave cursor out to begin again"),
        (
            await ada.post("/items", content=item, headers=JSON | {"Idempotency-Key": ""}),
            "must have 1 to 255 printable ASCII characters",
        ),
    ]
    for response, detail in told:
        assert_problem(response, 422, "invalid-request")
        [error] = response.json()["errors"]
        assert error["detail"].endswith(detail)
    malformed = (await ada.get("/tasks?created_after=yesterday")).json()["errors"]
    assert [error["detail"] for error in malformed] == ["must be a date and time with its offset (RFC 3339)"]


def place(line: int, column: int) -> str:
    return f" at line {line}, column {column}"


async def test_a_grant_to_refresh_is_answered_with_where_to_refresh(http: AsyncClient) -> None:
    for grant, detail in (
        ("refresh_token", "must be 'password'; to refresh, use POST /auth/refresh"),
        ("client_credentials", "must be 'password'"),
    ):
        response = await http.post("/auth/token", data={"username": "a", "password": "b", "grant_type": grant})
        assert_problem(response, 422, "invalid-request")
        assert response.json()["errors"] == [{"pointer": "/grant_type", "detail": detail}]


async def test_a_wrong_or_missing_media_type_is_answered_with_the_right_one(http: AsyncClient, ada: Person) -> None:
    for response, media_type in [
        (await ada.post("/items", content=b"{}"), "application/json"),
        (await ada.post("/items", content=b"{}", headers={"Content-Type": "text/plain"}), "application/json"),
        (await http.post("/auth/token", json={}), "application/x-www-form-urlencoded"),
    ]:
        assert_problem(response, 415, "unsupported-media-type")
        assert response.json()["detail"] == f"Send the header Content-Type: {media_type}."


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "GZIP", "x"])
async def test_a_compressed_body_is_refused_as_such(ada: Person, coding: str) -> None:
    response = await register_encoded(ada, coding)
    assert_problem(response, 415, "unsupported-media-type")
    assert "must not be compressed" in response.json()["detail"]
    assert response.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_a_body_that_is_not_compressed_may_say_so(ada: Person, coding: str) -> None:
    assert (await register_encoded(ada, coding)).status_code == 201


async def register_encoded(person: Person, coding: str) -> Response:
    content = b'{"name": "x", "price": 1}'
    return await person.post("/items", content=content, headers=JSON | {"Content-Encoding": coding})


@pytest.mark.parametrize("item_id", ["x", "%00", "%ff", "1", "null", "0" * 33, "%F0%9F%8F%AE", "x" * 5000, "%zz"])
async def test_an_address_that_holds_no_id(ada: Person, item_id: str) -> None:
    assert_faults(await ada.get(f"/items/{item_id}"), "/item_id")


async def test_a_refusal_repeats_nothing(http: AsyncClient, ada: Person) -> None:
    sent: list[Response] = [
        await http.post("/users", json={"email": MARK, "username": f"{MARK}é", "password": MARK * 20}),
        await http.post("/users", json={"email": "a@b", "username": "abc", "password": {MARK: MARK}}),
        await http.post("/users", json=[MARK]),
        await http.post("/users", content=f'{{"{MARK}', headers=JSON),
        await http.post("/users", content=f"{{{MARK}}}", headers=JSON),
        await http.post("/users", content=f'{{"{MARK}": 1, "{MARK}": 1}}', headers=JSON),
        await http.post("/auth/token", data={"username": MARK, "password": MARK * 20, MARK: MARK}),
        await http.post("/auth/token", data={"username": MARK, "password": MARK, "grant_type": MARK}),
        await ada.post("/items", json={"name": {MARK: MARK}, "description": [MARK], "price": MARK}),
        await ada.post("/items", json={"name": "x", "price": 1}, headers={"Idempotency-Key": MARK * 50}),
        await ada.get(f"/items/{ada.id}/transfers?limit={MARK}&skip={MARK}&count={MARK}&cursor={MARK}&{MARK}=1"),
        await ada.get(f"/items/{ada.id}/transfers?cursor={MARK}"),
    ]
    for response in sent:
        assert_problem(response, 422, "invalid-request")
        assert MARK not in response.text
        assert MARK not in str(response.headers)
    wrong = await http.post("/auth/token", data={"username": MARK, "password": MARK})
    assert_problem(wrong, 401, "wrong-credentials")
    assert MARK not in wrong.text


async def test_the_largest_body_and_one_byte_more(ada: Person) -> None:
    body = b'{"name": "x", "price": 1}'
    for content in (body.ljust(LIMIT), chunked(body, b" " * (LIMIT - len(body)))):
        assert (await ada.post("/items", content=content, headers=JSON)).status_code == 201
    for content in (body.ljust(LIMIT + 1), chunked(body, b" " * (LIMIT - len(body)), b" ")):
        assert_problem(await ada.post("/items", content=content, headers=JSON), 413, "content-too-large")


async def test_a_form_is_limited_too(http: AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b"username=a&password=" + b"x" * LIMIT
    assert_problem(await http.post("/auth/token", content=body, headers=form), 413, "content-too-large")
    assert_problem(await http.post("/auth/token", content=chunked(body), headers=form), 413, "content-too-large")


@pytest.mark.parametrize(
    "body", [b"a&" * 30_000, b"username=a&" * 5_000 + b"password=b", b"%", b"=&=", b"username=%ff&password=%00"]
)
async def test_a_form_that_is_none(http: AsyncClient, body: bytes) -> None:
    response = await http.post(
        "/auth/token", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code in {400, 401, 422}
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_announced_too_large_is_not_read(ada: Person) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    headers = JSON | {"Content-Length": str(LIMIT + 1)}
    assert_problem(await ada.post("/items", content=unread(), headers=headers), 413, "content-too-large")
    headers = JSON | {"Content-Length": "9" * 5000}
    assert_problem(await ada.post("/items", content=unread(), headers=headers), 413, "content-too-large")


async def test_nobodys_body_is_read(http: AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    assert_problem(await http.post("/items", content=unread(), headers=JSON), 401, "not-signed-in")


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
        ",",
    ],
)
async def test_another_media_type(ada: Person, media_type: str) -> None:
    for content in (b'{"name": "x", "price": 1}', chunked(b"{}")):
        response = await ada.post("/items", content=content, headers={"Content-Type": media_type})
        assert_problem(response, 415, "unsupported-media-type")


async def test_no_media_type(ada: Person) -> None:
    assert_problem(await ada.post("/items", content=b'{"name": "x", "price": 1}'), 415, "unsupported-media-type")
    assert_faults(await ada.post("/items"), "")


async def test_parameters_of_the_media_type_do_not_matter(ada: Person) -> None:
    for media_type in ("application/json; charset=utf-8", "APPLICATION/JSON ;charset=x"):
        headers = {"Content-Type": media_type}
        response = await ada.post("/items", content=b'{"name": "x", "price": 1}', headers=headers)
        assert response.status_code == 201, response.text


@pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
async def test_signing_in_takes_the_form_of_oauth_only(http: AsyncClient, media_type: str) -> None:
    response = await http.post("/auth/token", content=b"username=a&password=b", headers={"Content-Type": media_type})
    assert_problem(response, 415, "unsupported-media-type")
