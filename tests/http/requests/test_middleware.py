"""What every request gets, whatever becomes of it: an id, common headers, a deadline, a line in the log."""

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest
import structlog
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from starlette.types import Message

from application.errors import Busy, KeyInFlight, NoSpace, OutcomeUnknown, RequestInProgress, TryAgain, Unavailable
from application.locks import KeyedLock
from application.transact import Transact
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.container import Settings
from interfaces.certification.database import Database
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.error_handling import NotReady
from interfaces.http.middleware import deadline
from interfaces.http.middleware.deadline import DeadlineMiddleware
from interfaces.http.middleware.request_log import RequestLogMiddleware
from interfaces.http.middleware.unhandled_errors import UnhandledErrorMiddleware
from interfaces.http.responses.problems import REPEAT
from interfaces.http.routing.auth import PUBLIC
from interfaces.logs import configure_logs, log_request, log_unavailable
from interfaces.testing.builders import new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.application.test_transact import committing, failing
from tests.http.support.client import NewPerson, Person, app_of, client_of, container_on, refresh, sign_in

SECRET = "xSUBMITTEDx"
PLACE = "PostgreSQL at 10.0.0.7:5432"


@pytest.fixture(params=["json"])
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    root.handlers.clear()
    configure_logs(Settings(log_format=request.param, _env_file=None), stream)
    logging.getLogger("httpx2").setLevel("WARNING")  # the client's own lines
    yield stream
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(logged: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged.getvalue().splitlines()]


async def responses(http: AsyncClient, ada: Person) -> AsyncIterator[Response]:
    item = await ada.registers()
    yield await ada.get("/users/me")
    yield await ada.get(f"/items/{item['id']}")
    yield await ada.get(f"/items/{item['id']}", headers={"If-None-Match": "*"})
    yield await ada.get(f"/items/{item['id']}/transfers")
    yield await ada.post("/items", json={})
    yield await ada.post("/items", content=b"x")
    yield await ada.post("/items", content=b"x" * 70_000)
    for path in ("/nope", "/users/me", "/users/me/", "/health/live", "/docs", "/openapi.json", "/problems/busy"):
        yield await http.get(path)
    yield await http.put("/users")
    yield await http.get("/docs/assets/swagger-ui.css")
    yield await http.get("/docs/assets/nope")


async def test_the_headers_of_every_answer(http: AsyncClient, ada: Person) -> None:
    seen = set()
    async for response in responses(http, ada):
        seen.add(response.status_code)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert len(response.headers["x-request-id"]) == 32
        cached = "private, no-cache" if "etag" in response.headers else "no-store"
        assert response.headers.get_list("cache-control") == [cached]
    assert seen == {200, 304, 307, 401, 404, 405, 413, 415, 422}


@pytest.mark.parametrize("request_id", ["a", "A-1_b.c", "x" * 128])
async def test_a_sane_request_id_is_kept(http: AsyncClient, request_id: str) -> None:
    response = await http.get("/nope", headers={"X-Request-ID": request_id})
    assert response.headers.get_list("x-request-id") == [request_id]
    assert response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", [b"", b"x" * 129, b"a b", b"a\tb", b"\xff", b"<x>", b"a\n"])
async def test_any_other_is_replaced(http: AsyncClient, request_id: bytes) -> None:
    response = await http.get("/nope", headers={b"X-Request-ID": request_id})
    assert len(response.headers["x-request-id"]) == 32


CHANGED = f"A change may have been made. {REPEAT}"


@pytest.mark.parametrize(
    ("error", "status", "slug", "said"),
    [
        (Unavailable(PLACE), 503, "store-unavailable", CHANGED),
        (Busy(PLACE), 503, "busy", CHANGED),
        (NoSpace(PLACE), 503, "store-unavailable", "no disk space"),
        (NotReady("the server is about to stop"), 503, "store-unavailable", "about to stop"),
        (TryAgain(PLACE), 503, "busy", CHANGED),
        (KeyInFlight(PLACE), 503, "busy", CHANGED),
        (OutcomeUnknown(PLACE), 503, "outcome-unknown", f"may have taken effect. {REPEAT}"),
        (RequestInProgress(), 409, "request-in-progress", "has not ended yet"),
        (RuntimeError(SECRET), 500, "internal-error", "an error of the server"),
        (ValueError(SECRET), 500, "internal-error", "an error of the server"),
        (TimeoutError(SECRET), 500, "internal-error", "an error of the server"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
async def test_what_comes_from_below(
    app: FastAPI,
    http: AsyncClient,
    logged: io.StringIO,
    error: Exception,
    status: int,
    slug: str,
    said: str,
    method: str,
) -> None:
    @app.api_route("/fails/{id}", methods=["GET", "POST"], openapi_extra=PUBLIC)
    async def fails() -> None:
        raise error from ConnectionRefusedError(SECRET)

    response = await http.request(method, f"/fails/{SECRET}", headers={"X-Request-ID": "r1"})
    unavailable = [line for line in lines(logged) if line["event"] == "unavailable"]
    assert len(unavailable) == (status == 503)
    for line in unavailable:
        assert (line["level"], line["request_id"], line["route"]) == ("warning", "r1", "/fails/{id}")
        assert (line["code"], line["cause"]) == (slug, "ConnectionRefusedError")
        assert line["reason"] == str(error)
    assert SECRET not in logged.getvalue()
    if method == "HEAD":
        assert (response.status_code, response.content) == (status, b"")
        return
    assert_problem(response, status, slug)
    detail = response.json()["detail"]
    if method == "GET" and said is CHANGED:
        said = "Repeat the request after the seconds in Retry-After"
        assert "change" not in detail
    assert said in detail
    assert SECRET not in response.text.replace(f"/fails/{SECRET}", "")
    assert PLACE not in response.text


async def test_an_unexpected_error_is_logged_without_what_was_submitted(
    app: FastAPI, http: AsyncClient, logged: io.StringIO
) -> None:
    @app.post("/fails", openapi_extra=PUBLIC)
    async def fails(body: dict[str, str]) -> None:
        try:
            raise KeyError(body["a"])
        except KeyError as error:
            raise RuntimeError(str(body)) from error

    response = await http.post("/fails?q=" + SECRET, json={"a": SECRET}, headers={"X-Request-ID": "r1"})
    assert_problem(response, 500, "internal-error")
    failure, request = lines(logged)
    assert failure["request_id"] == request["request_id"] == "r1"
    assert "KeyError" in failure["exception"]
    assert "RuntimeError" in failure["exception"]
    assert "in fails" in failure["exception"]
    assert SECRET not in logged.getvalue()


async def test_half_an_answer_is_cut_off_and_logged(logged: io.StringIO) -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError(SECRET)

    async def send(message: Message) -> None:
        assert message["type"] == "http.response.start"

    scope = {"type": "http", "http_version": "1.0", "method": "GET", "headers": []}
    with pytest.raises(RuntimeError):
        await RequestLogMiddleware(UnhandledErrorMiddleware(breaks), lambda *_: None)(scope, None, send)  # type: ignore[arg-type]
    assert [line["event"] for line in lines(logged)] == ["unexpected error", "request"]
    assert SECRET not in logged.getvalue()


@pytest.mark.parametrize("logged", ["json", "console"], indirect=True)
@pytest.mark.parametrize("route", ["/items/{item_id}", None])
@pytest.mark.parametrize("more", [{}, {"user_id": str(new_id()), "reruns": 2}])
def test_the_line_of_a_request_is_written_as_structlog_would_write_it(
    route: str | None, more: dict[str, str | int], logged: io.StringIO
) -> None:
    with structlog.contextvars.bound_contextvars(request_id="an-id"):
        log_request("an-id", "GET", route, 200, 1.5, **more)
        structlog.get_logger().info("request", method="GET", route=route, status=200, ms=1.5, **more)
    ours, by_structlog = (re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "", line) for line in logged.getvalue().splitlines())
    assert ours == by_structlog


async def test_one_line_per_request(http: AsyncClient, ada: Person, logged: io.StringIO) -> None:
    item = await ada.registers()
    await ada.get(f"/items/{item['id']}?{SECRET}", headers={"X-Request-ID": "r1"})
    await http.get(f"/{SECRET}")
    _, read, unknown = lines(logged)
    assert read.pop("ms") >= 0
    assert read.pop("timestamp")
    assert read == {
        "event": "request",
        "level": "info",
        "request_id": "r1",
        "method": "GET",
        "route": "/items/{item_id}",
        "status": 200,
        "user_id": ada.id,
    }
    assert (unknown["route"], unknown["status"]) == (None, 404)
    assert "user_id" not in unknown
    assert SECRET not in logged.getvalue()


async def test_reruns_are_in_the_line_and_in_the_metrics(
    database: Database, clock: SetClock, ada: Person, logged: io.StringIO
) -> None:
    trouble = failing(TryAgain("a conflict"), KeyInFlight("another process has it"), TryAgain("a conflict"))
    container = container_on(database.settings, database.store, clock)
    container.transact.override(providers.Object(Transact(committing(database.store.begin, before=trouble), clock)))
    token = container.tokens().issue(ada.user.id, clock()).token
    async with client_of(app_of(container)) as http:
        for price in (1, 2):
            item = await http.post(
                "/items", json={"name": "Lamp", "price": price}, headers={"Authorization": f"Bearer {token}"}
            )
            assert item.status_code == 201
        metrics = (await http.get("/metrics")).text
    assert [line.get("reruns") for line in lines(logged)] == [3, None, None]
    assert 'handover_reruns_total{reason="conflict"} 2.0' in metrics
    assert 'handover_reruns_total{reason="key-in-flight"} 1.0' in metrics


async def test_what_accounts_do_is_logged_and_credentials_are_not(http: AsyncClient, logged: io.StringIO) -> None:
    body = {"email": "zed@example.org", "username": "zed", "password": SECRET}
    me = (await http.post("/users", json=body)).json()["id"]
    tokens = (await sign_in(http, "zed", SECRET)).json()
    signed_in = {"Authorization": f"Bearer {tokens['access_token']}"}
    await sign_in(http, SECRET, f"{SECRET}!")
    await http.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}x"})
    await http.get("/users/me")
    await refresh(http, tokens)
    await refresh(http, tokens)
    await refresh(http, {"refresh_token": SECRET})
    tokens = (await sign_in(http, "zed", SECRET)).json()
    await http.post("/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    await http.post("/auth/logout", json={"refresh_token": SECRET})
    change = {"email": "new@example.org", "password": f"{SECRET}x", "current_password": SECRET}
    await http.patch(f"/users/{me}", headers=signed_in, json=change | {"current_password": f"{SECRET}y"})
    await http.patch(f"/users/{me}", headers=signed_in, json=change)
    for _ in range(9):
        await sign_in(http, "zed", SECRET)
    await sign_in(http, "zed", SECRET)
    await http.delete(f"/users/{me}", headers=signed_in)

    events = [line for line in lines(logged) if line["event"] != "request"]
    assert all(event["request_id"] and event["client"] == "127.0.0.1" for event in events)
    assert {event["user_id"] for event in events if "user_id" in event} == {me}
    assert [(event["event"], event.get("code")) for event in events] == [
        ("account created", None),
        ("signed in", None),
        ("refused", "wrong-credentials"),
        ("refused", "invalid-token"),
        ("refused", "not-signed-in"),
        ("refreshed", None),
        ("refresh token reused", None),
        ("refused", "invalid-refresh-token"),
        ("signed in", None),
        ("signed out", None),
        ("refused", "wrong-password"),
        ("account changed", None),
        *[("refused", "wrong-credentials")] * 9,
        ("throttled", None),
        ("account deleted", None),
    ]
    assert [event["fields"] for event in events if event["event"] == "account changed"] == [["email", "password"]]
    for secret in (SECRET, tokens["access_token"], tokens["refresh_token"], "example.org", "$argon2"):
        assert secret not in logged.getvalue()


async def test_a_throttled_request_is_logged_with_what_was_throttled(
    database: Database, clock: SetClock, logged: io.StringIO
) -> None:
    limits = {"sign_ups_per_address": 1, "login_failures_per_account": 1}
    settings = database.settings.model_copy(update=limits)
    async with client_of(app_of(container_on(settings, database.store, clock))) as http:
        body = {"email": "zed@example.org", "username": "zed", "password": SECRET}
        me = (await http.post("/users", json=body)).json()["id"]
        token = (await sign_in(http, "zed", SECRET)).json()["access_token"]
        await sign_in(http, "zed", "wrong")
        change = {"email": "new@example.org", "current_password": SECRET}
        refused = [
            await http.post("/users", json=body),
            await sign_in(http, "zed", SECRET),
            await http.patch(f"/users/{me}", headers={"Authorization": f"Bearer {token}"}, json=change),
        ]
    assert [response.status_code for response in refused] == [429] * 3
    throttled = [(line["what"], line["client"]) for line in lines(logged) if line["event"] == "throttled"]
    assert throttled == [("sign-up", "127.0.0.1"), ("sign-in", "127.0.0.1"), ("sign-in", "127.0.0.1")]


async def through_deadline(app: Any, receive: Any = None, seconds: float = 0.05) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/slow", "state": {"request_id": "r1"}}
    await DeadlineMiddleware(app, seconds)(scope, receive, send)
    return sent


async def test_what_takes_too_long_is_busy_and_the_log_says_what_it_has_waited_for(logged: io.StringIO) -> None:
    limiter = CapacityLimiter(1, seconds=100)
    await limiter.acquire()

    async def waits_for_a_connection(scope: Any, receive: Any, send: Any) -> None:
        await limiter.acquire()

    async def waits_for_another_request(scope: Any, receive: Any, send: Any) -> None:
        async with locks("a"), locks("a"):
            pass

    async def waits_for_something_else(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(100)

    locks = KeyedLock()
    reasons = {
        waits_for_a_connection: "HANDOVER_POOL_SIZE",
        waits_for_another_request: "another request of this process",
        waits_for_something_else: "asyncio",
    }
    for app in reasons:
        start, body = await through_deadline(app)
        assert start["status"] == 503
        assert (b"retry-after", b"1") in start["headers"]
        assert json.loads(body["body"])["type"] == "/problems/busy"
    for line, told in zip(lines(logged), reasons.values(), strict=True):
        assert (line["event"], line["level"], line["code"]) == ("unavailable", "warning", "busy")
        assert line["reason"].startswith("not finished within 0.05 seconds, but waiting for ")
        assert told in line["reason"]


async def test_waiting_for_the_body_does_not_count() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.3)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(5):
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert (await through_deadline(reads, receive, seconds=1))[0]["status"] == 200


async def test_what_comes_after_the_body_counts_again() -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(100)

    assert (await through_deadline(slow, receive))[0]["status"] == 503


async def test_a_body_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "BODY_SECONDS", 0.05)

    async def receive() -> Message:
        await asyncio.sleep(100)
        raise AssertionError

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    start, body = await through_deadline(reads, receive, seconds=100)
    assert start["status"] == 408
    assert json.loads(body["body"])["type"] == "/problems/request-timeout"
    assert (b"connection", b"close") in start["headers"]


async def test_an_answer_that_has_begun_is_not_cut_off() -> None:
    async def streams(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(1.5)
        await send({"type": "http.response.body"})

    assert [message["type"] for message in await through_deadline(streams, seconds=1)] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_a_timeout_of_the_app_itself_is_no_deadline() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await through_deadline(fails)


@pytest.mark.parametrize(
    ("level", "form", "expected"),
    [("debug", "json", 2), ("info", "console", 2), ("warning", "json", 0), ("warning", "console", 0)],
)
def test_the_level_is_that_of_the_settings_but_no_library_debugs(
    level: Literal["debug", "info", "warning"], form: Literal["json", "console"], expected: int, logged: io.StringIO
) -> None:
    """`logged` sets everything back afterwards."""
    stream = io.StringIO()
    configure_logs(Settings(log_format=form, log_level=level, _env_file=None), stream)
    logging.getLogger("a.library").debug("debug of a library")
    logging.getLogger("a.library").info("info of a library")
    log_request("r1", "GET", None, 200, 1.5)
    assert "debug of a library" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == expected


async def test_reuse_and_throttling_are_warnings(
    http: AsyncClient, new_person: NewPerson, password_hash: str, logged: io.StringIO
) -> None:
    await new_person(username="eve", email="eve@example.org", password_hash=password_hash)
    tokens = (await sign_in(http, "eve")).json()
    for _ in range(2):
        await refresh(http, tokens)
    for _ in range(11):
        await sign_in(http, "eve", "battery horse correct")
    levels = {line["event"]: line["level"] for line in lines(logged)}
    assert levels["refresh token reused"] == levels["throttled"] == "warning"
    assert levels["refused"] == "info"


def test_the_cause_is_not_the_time_limit_in_between(logged: io.StringIO) -> None:
    try:
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError as cancelled:
            raise RuntimeError from cancelled
    except RuntimeError as error:
        log_unavailable({}, "busy", error)
    assert [line["cause"] for line in lines(logged)] == ["RuntimeError"]
