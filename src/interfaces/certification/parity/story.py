"""One long sequence of requests that calls every operation of the API and provokes every problem that it declares.

Time, ids, tokens and request ids are fixed, so that the responses are the same bytes on every store.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient, Request, Response
from pydantic import SecretStr

from application import transact
from application.errors import Busy, OutcomeUnknown, Unavailable
from application.ports import KeyId, Tokens
from application.store import Store
from application.use_cases.users import DeactivateUser
from domain.user import UserId
from infrastructure.container import Settings, build_container, open_store
from interfaces.certification.parity.document import IN_MEMORY
from interfaces.certification.parity.problems import assert_problem
from interfaces.certification.parity.recorder import Exchange, Recorder
from interfaces.http.app import attach_container, create_app
from interfaces.http.middleware import deadline
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens

PASSWORD = "correct horse battery staple"
SIGN_UPS = 40
"""How many sign-ups the server allows within 15 minutes, more than the other steps need."""
NOBODY = "00000000-0000-7000-8000-0000000000ff"
CONDITIONAL = {
    *("change_item", "delete_item", "transfer_item"),
    *("put_task", "change_task", "delete_task"),
    *("change_account", "delete_account"),
}
"""The operations that check If-Match."""
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class RequestTemplate:
    """A request to send, or to change in some fields so that it provokes a problem.

    `content` is sent as JSON, or as a form if `form`; bytes and asynchronous iterators are sent as they are, None is no
    body. `by` is the name of the user who sends it, None: nobody is signed in.
    """

    method: str
    path: str
    content: Any = None
    form: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    by: str | None = None

    def with_headers(self, **headers: str) -> "RequestTemplate":
        """Return the same request with more headers; `_` in their names becomes `-`."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


class FailingUseCase:
    """A use case or port that raises this error when it, or any method of it, is called and awaited."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, _: str) -> "FailingUseCase":
        return self

    async def __call__(self, *_: object, **__: object) -> None:
        raise self.error


class Story:
    """The sequence of requests on one store, and what it needs to know from earlier responses.

    The steps depend on one another, so run() calls them in a fixed order.
    """

    def __init__(self, settings: Settings, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.clock, self.patch = SetClock(), patch
        numbers, tokens, self.requests = count(1), count(1), count(1)
        self.container = build_container(
            settings.model_copy(update={"metrics_token": SecretStr("of the metrics"), "sign_ups_per_address": SIGN_UPS})
        )
        self.container.store.override(providers.Object(store))
        self.container.now.override(providers.Object(self.clock))
        self.container.ids.override(providers.Object(lambda: UUID(int=next(numbers) << 80 | 7 << 76 | 2 << 62)))
        self.container.new_token.override(providers.Object(lambda: f"refresh token {next(tokens)}"))
        self.container.passwords.override(providers.Object(FakePasswords()))
        self.container.tokens.override(providers.Object(FakeTokens()))
        self.app = create_app(self.container)
        attach_container(self.app, self.container)
        self.recorder = Recorder(self.app)
        self.http = AsyncClient(
            transport=ASGITransport(self.recorder),
            base_url="http://handover.test",
            event_hooks={"request": [self.set_request_id]},
        )
        self.accounts: dict[str, dict[str, Any]] = {}

    async def set_request_id(self, request: Request) -> None:
        """Set the next request id: `request-1`, `request-2` and so on, the same in each run."""
        request.headers["X-Request-ID"] = f"request-{next(self.requests)}"

    async def send(self, expected: int | str, request: RequestTemplate, **changed: Any) -> Response:
        """Send the request with these fields changed, with an access token of its user, if any; return the response.

        Assert that the response has the expected status, or is the problem whose code is expected.
        """
        request = replace(request, **changed)
        headers = dict(request.headers)
        if request.by is not None:
            headers["Authorization"] = f"Bearer {self.token(request.by)}"
        content: dict[str, Any] = {}
        if isinstance(request.content, bytes) or hasattr(request.content, "__aiter__"):
            content["content"] = request.content
            headers.setdefault("Content-Type", FORM if request.form else JSON)
        elif request.content is not None:
            content["data" if request.form else "json"] = request.content
        response = await self.http.request(request.method, request.path, headers=headers, **content)
        if isinstance(expected, str):
            assert_problem(response, response.status_code, expected)
        else:
            assert response.status_code == expected, f"{request}: {response.text}"
        return response

    def token(self, name: str) -> str:
        """Return an access token of this user, as FakeTokens issues it; no request is sent.

        The user must be one of `accounts`. The token is not signed and never expires.
        """
        return FakeTokens().issue(UserId(UUID(self.accounts[name]["id"])), self.clock()).token

    @contextmanager
    def failing(self, error: Exception) -> Iterator[None]:
        """Let all use cases and ports raise this error during the block, except for the port that verifies tokens."""
        use_cases_and_ports = self.app.state.use_cases_and_ports
        failing = FailingUseCase(error)
        self.app.state.use_cases_and_ports = {
            cls: use_cases_and_ports[cls] if cls is Tokens else failing for cls in use_cases_and_ports
        }
        try:
            yield
        finally:
            self.app.state.use_cases_and_ports = use_cases_and_ports

    async def run(self) -> list[Exchange]:
        """Send all requests, and return them with their responses, in order. Can be called only once."""
        async with self.http:
            await self.health_and_documents()
            await self.signing_up_and_in()
            await self.items()
            await self.tasks()
            await self.users()
            await self.refusals_of_every_operation()
            await self.refusals_of_sign_in()
            await self.refusals_of_accounts()
            await self.refusals_of_items()
            await self.refusals_of_tasks()
            await self.deletions()
        return self.recorder.exchanges

    async def health_and_documents(self) -> None:
        """Request the start page, health checks, metrics, explanations of problems, and paths that do not exist.

        Also send a malformed Host, a wrong token for the metrics, a wrong method, and a path with a slash too many.
        """
        for method in ("GET", "HEAD"):
            for path in ("/", "/health/live", "/health/ready"):
                await self.send(200, RequestTemplate(method, path))
                if method == "GET":
                    await self.send("bad-request", RequestTemplate(method, path).with_headers(Host="not a host"))
        await self.send(200, RequestTemplate("GET", "/").with_headers(Accept="text/html"))
        await self.send(200, RequestTemplate("GET", "/problems/version-mismatch"))
        await self.send("not-found", RequestTemplate("GET", "/problems/nope"))
        await self.send(200, RequestTemplate("GET", "/problems"))
        await self.send("not-signed-in", RequestTemplate("GET", "/metrics"))
        await self.send("invalid-token", RequestTemplate("GET", "/metrics").with_headers(Authorization="Bearer x"))
        await self.send(200, RequestTemplate("GET", "/metrics").with_headers(Authorization="bearer of the metrics"))
        await self.send("not-found", RequestTemplate("GET", "/nope"))
        await self.send("method-not-allowed", RequestTemplate("DELETE", "/health/live"))
        await self.send(307, RequestTemplate("GET", "/health/live/"))

    async def signing_up_and_in(self) -> None:
        """Create the accounts ada, bob and eve; sign ada in, refresh her session, end it, and read her account."""
        for name in ("ada", "Bob", "eve"):
            body = {"email": f"{name}@Example.org", "username": name, "password": PASSWORD}
            created = await self.send(201, RequestTemplate("POST", "/users", body))
            self.accounts[name.lower()] = created.json()
        tokens = (await self.send(200, self.sign_in("ADA"))).json()
        refreshed = await self.send(
            200, RequestTemplate("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        )
        await self.send(
            204, RequestTemplate("POST", "/auth/logout", {"refresh_token": refreshed.json()["refresh_token"]})
        )
        await self.send(200, RequestTemplate("GET", "/users/me", by="ada"))

    def sign_in(self, login: str, password: str = PASSWORD) -> RequestTemplate:
        """Return the request that signs this user in."""
        return RequestTemplate("POST", "/auth/token", {"username": login, "password": password}, form=True)

    def create_item(self, name: str, price: str, by: str, description: str | None = None) -> RequestTemplate:
        """Return the request that creates an item; the price is written into the body as it is."""
        content = f'{{"name": {json.dumps(name)}, "price": {price}, "description": {json.dumps(description)}}}'
        return RequestTemplate("POST", "/items", content.encode(), by=by)

    async def items(self) -> None:
        """Create, change, transfer and list items, with idempotency keys and conditional requests.

        Set `lamp` to the path of the first item, which belongs to ada at the end.
        """
        made = [
            await self.send(
                201, self.create_item(name, price, by, description=description).with_headers(Idempotency_Key=price)
            )
            for name, price, by, description in [
                ("Lamp", "19.9", "ada", "Brass"),
                ("lamp", "1.230", "bob", ""),
                ("Zebra 🦓", "0", "ada", "Ünïcødé \\u2028 \n"),
                ("Ära", "9999999999.99", "ada", " "),
                ("\ufb01ne", "1e1", "bob", "x" * 2000),
            ]
        ]
        self.lamp = made[0].headers["location"]
        again = await self.send(
            201, self.create_item("Lamp", "19.90", "ada", description="Brass").with_headers(Idempotency_Key="19.9")
        )
        assert again.headers["idempotency-replayed"] == "true"
        for number in range(7):  # of equal prices and names, made at other times
            self.clock.move(milliseconds=number % 3)
            await self.send(201, self.create_item("Box", "10", "ada" if number % 2 else "bob"))
        await self.send(200, RequestTemplate("GET", self.lamp, by="bob"))
        await self.send(200, RequestTemplate("HEAD", self.lamp, by="bob"))
        await self.send(304, RequestTemplate("GET", self.lamp, by="bob").with_headers(If_None_Match='"1"'))
        change = RequestTemplate("PATCH", self.lamp, by="ada")
        await self.send(200, change, content={})
        await self.send(200, change.with_headers(If_Match='"1"'), content={"price": 20, "description": None})
        await self.send(200, change.with_headers(If_Match='"7", "2"'), content={"description": "Brass", "name": "Lamp"})
        for number in range(3):
            here, there = ("ada", "bob") if number % 2 == 0 else ("bob", "ada")
            self.clock.move(seconds=1)
            transfer = RequestTemplate(
                "POST", f"{self.lamp}/transfer", {"to_user_id": self.accounts[there]["id"]}, by=here
            )
            await self.send(200, transfer.with_headers(If_Match=f'"{number + 3}"', Idempotency_Key=f"k{number}"))
        await self.send(200, transfer.with_headers(If_Match='"5"', Idempotency_Key="k2"))
        await self.send(200, transfer, content={"to_user_id": self.accounts["ada"]["id"]}, by="bob")
        await self.read_all_pages(f"{self.lamp}/transfers?limit=3")
        await self.read_all_pages(f"{self.lamp}/transfers?skip=1&limit=2&count=false")
        for query in (
            "limit=5",
            "sort=price&limit=4",
            "sort=-price&limit=5",
            "sort=name&limit=5",
            "sort=-name&limit=3&skip=1",
            "sort=created_at&limit=4",
            "sort=-created_at&limit=4&min_price=1.2&max_price=2e1",
            f"owner_id={self.accounts['bob']['id']}&sort=-name&limit=2",
            f"owner_id={NOBODY}",
            "min_price=10&max_price=10.00&limit=3",
            "limit=2&skip=10000",
        ):
            await self.read_all_pages(f"/items?{query}")
        for name in ("ada", "bob", "eve"):
            await self.read_all_pages(f"/users/{self.accounts[name]['id']}/items?sort=-price&limit=3&max_price=20")

    async def read_all_pages(self, address: str) -> None:
        """Request a list as ada, and all its further pages, which the header Link names."""
        followed: list[str] = []
        following: str | None = address
        while following:
            assert following not in followed, f"the last page of {address} is followed by {following} again"
            followed.append(following)
            page = await self.send(200, RequestTemplate("GET", following, by="ada"))
            following = page.links["next"]["url"] if "next" in page.links else None

    async def tasks(self) -> None:
        """Create, change and list tasks, by every filter and sort. Set `task` to the path of one of ada's."""
        for number, status in enumerate(("pending", "in_progress", "completed", "cancelled", "pending")):
            self.clock.move(days=3)
            body = {"title": f"Task {number % 2} é", "description": "x" * number or None, "status": status}
            made = await self.send(
                201, RequestTemplate("POST", "/tasks", body, by="ada").with_headers(Idempotency_Key=str(number))
            )
        await self.send(201, RequestTemplate("POST", "/tasks", {"title": "Bob's"}, by="bob"))
        await self.send(201, RequestTemplate("POST", "/tasks", body, by="ada").with_headers(Idempotency_Key="4"))
        self.task = made.headers["location"]
        await self.send(200, RequestTemplate("GET", self.task, by="ada"))
        await self.send(304, RequestTemplate("GET", self.task, by="ada").with_headers(If_None_Match="*"))
        await self.send(
            200, RequestTemplate("PUT", self.task, {"status": "completed"}, by="ada").with_headers(If_Match='"1"')
        )
        await self.send(200, RequestTemplate("PATCH", self.task, {"title": "Other", "description": None}, by="ada"))
        await self.send(
            200, RequestTemplate("PATCH", self.task, {"title": "Other"}, by="ada").with_headers(If_Match="*")
        )
        before = self.clock().isoformat().replace("+00:00", "Z")
        for query in (
            "?limit=2",
            "?sort=-title&limit=2",
            "?sort=title&limit=2&count=false",
            "?sort=-created_at&status=completed&limit=1",
            f"?created_after={before}",
            "?created_after=2026-11-28T14:00:00.1239%2B02:00&sort=created_at&limit=2",
            "/by-status/completed?limit=1",
            "/by-status/cancelled",
            "/recent?limit=1",
            "/recent?days=365&limit=3",
        ):
            await self.read_all_pages(f"/tasks{query}")

    async def users(self) -> None:
        """List and read users, change bob's account, and deactivate eve's.

        After that, eve can be read and can still read with her access token, but is refused when she signs in.
        """
        await self.read_all_pages("/users?limit=2")
        for name in ("ada", "bob"):
            await self.send(200, RequestTemplate("GET", f"/users/{self.accounts[name]['id']}", by="bob"))
        body = {"email": "Robert@example.org", "password": "another password", "current_password": PASSWORD}
        await self.send(200, RequestTemplate("PATCH", f"/users/{self.accounts['bob']['id']}", body, by="bob"))
        deactivate: DeactivateUser = self.app.state.use_cases_and_ports[DeactivateUser]
        await deactivate("eve")
        await self.send(200, RequestTemplate("GET", f"/users/{self.accounts['eve']['id']}", by="bob"))
        await self.send(200, RequestTemplate("GET", f"/users/{self.accounts['eve']['id']}", by="eve"))
        await self.send("wrong-credentials", self.sign_in("eve"))

    def valid_requests(self) -> dict[str, RequestTemplate]:
        """Return, for each operation id, a well-formed request, by ada if it needs a user; most of them would succeed.

        They are not sent. Operations of items and tasks use `lamp` and `task`, which must have been set.
        """
        ada, bob = (self.accounts[name]["id"] for name in ("ada", "bob"))
        user = f"/users/{ada}"
        public = {
            "start": RequestTemplate("GET", "/"),
            "live": RequestTemplate("GET", "/health/live"),
            "ready": RequestTemplate("GET", "/health/ready"),
            "explain_problem": RequestTemplate("GET", "/problems/busy"),
            "list_problems": RequestTemplate("GET", "/problems"),
            "create_user": RequestTemplate(
                "POST", "/users", {"email": "joe@example.org", "username": "joe", "password": "joe has a password"}
            ),
            "sign_in": self.sign_in("ada"),
            "refresh_session": RequestTemplate("POST", "/auth/refresh", {"refresh_token": "x"}),
            "sign_out": RequestTemplate("POST", "/auth/logout", {"refresh_token": "x"}),
        }
        signed_in = {
            "read_account": RequestTemplate("GET", "/users/me"),
            "list_users": RequestTemplate("GET", "/users"),
            "read_user": RequestTemplate("GET", user),
            "change_account": RequestTemplate(
                "PATCH", user, {"email": "countess@example.org", "current_password": PASSWORD}
            ),
            "delete_account": RequestTemplate("DELETE", user),
            "create_item": RequestTemplate("POST", "/items", {"name": "Chair", "price": 5}),
            "list_items": RequestTemplate("GET", "/items"),
            "list_items_of_user": RequestTemplate("GET", f"{user}/items"),
            "read_item": RequestTemplate("GET", self.lamp),
            "change_item": RequestTemplate("PATCH", self.lamp, {"price": 7}),
            "delete_item": RequestTemplate("DELETE", self.lamp),
            "transfer_item": RequestTemplate("POST", f"{self.lamp}/transfer", {"to_user_id": bob}),
            "list_transfers": RequestTemplate("GET", f"{self.lamp}/transfers"),
            "create_task": RequestTemplate("POST", "/tasks", {"title": "Sit"}),
            "list_tasks": RequestTemplate("GET", "/tasks"),
            "list_tasks_by_status": RequestTemplate("GET", "/tasks/by-status/pending"),
            "list_recent_tasks": RequestTemplate("GET", "/tasks/recent"),
            "read_task": RequestTemplate("GET", self.task),
            "put_task": RequestTemplate("PUT", self.task, {"title": "Stand"}),
            "change_task": RequestTemplate("PATCH", self.task, {"title": "Walk"}),
            "delete_task": RequestTemplate("DELETE", self.task),
        }
        return public | {name: replace(request, by="ada") for name, request in signed_in.items()}

    async def refusals_of_every_operation(self) -> None:
        """Provoke the problems that many operations have in common.

        These are problems of access tokens, inactive accounts, bodies, idempotency keys, versions, ids and queries, and
        of a store that fails. Every request is refused.
        """
        storeless = {"start", "live", "explain_problem", "list_problems"}
        for name, request in self.valid_requests().items():
            if request.by is not None:
                await self.send("not-signed-in", request, by=None)
                await self.send("invalid-token", replace(request, by=None).with_headers(Authorization="Bearer x"))
            if name not in storeless:
                for error, slug in (
                    (Unavailable("the store is away"), "store-unavailable"),
                    (Busy("the store is busy"), "busy"),
                    *([(OutcomeUnknown(), "outcome-unknown")] if request.method != "GET" else []),
                ):
                    with self.failing(error):
                        await self.send(slug, request)
            if request.method != "GET" and request.by is not None and name not in {"change_account", "delete_account"}:
                await self.send("account-inactive", request, by="eve")
            if request.content is not None:
                await self.refusals_of_bodies(request)
            if request.method == "POST" and request.by is not None:
                await self.refusals_of_keys(request)
            if name in CONDITIONAL:
                await self.send("version-mismatch", request.with_headers(If_Match='"999"'))
        for path in ("/users/x", "/items/x", "/tasks/x", "/users/x/items", "/items/x/transfers", "/tasks/by-status/x"):
            await self.send("invalid-request", RequestTemplate("GET", path, by="ada"))
        for path in ("/users", "/items", "/tasks", "/tasks/recent"):
            await self.send("invalid-request", RequestTemplate("GET", f"{path}?limit=0&skip=-1&count=x", by="ada"))
            await self.send("invalid-request", RequestTemplate("GET", f"{path}?cursor=x", by="ada"))
        for path in ("/users", "/items", "/tasks", "/tasks/recent", "/tasks/by-status/pending"):
            await self.send("invalid-request", RequestTemplate("GET", f"{path}?limit=101", by="ada"))
        await self.send("invalid-request", RequestTemplate("GET", "/items?min_price=2&max_price=1", by="ada"))
        for path in ("/users/x", "/items/x", "/tasks/x"):
            await self.send("invalid-request", RequestTemplate("DELETE", path, by="ada"))

    async def refusals_of_bodies(self, request: RequestTemplate) -> None:
        """Send this request with bodies that are too large, of another type, malformed, or not finished in time."""

        async def endless() -> AsyncIterator[bytes]:
            """Yield nothing for a minute, which is longer than the server waits."""
            await asyncio.sleep(60)
            yield b""

        await self.send("content-too-large", request, content=b" " * 65537)
        await self.send("unsupported-media-type", request.with_headers(Content_Type="text/plain"), content=b"x")
        await self.send("invalid-request", request, content=b"[]")
        await self.send("invalid-request", request, content=b"colour=green" if request.form else b'{"colour": "green"}')
        if request.form:
            await self.send("bad-request", request, content=b"a&" * 5000)
        with self.patch.context() as patch:
            patch.setattr(deadline, "BODY_SECONDS", 0.01)
            await self.send("request-timeout", request, content=endless())

    async def refusals_of_keys(self, request: RequestTemplate) -> None:
        """Send this request with an idempotency key that a running request has claimed, and with a malformed key.

        No other request is sent: the test holds the lock of the key.
        """
        key = f"in flight {request.path}"
        template = request.path.replace(self.lamp, "/items/{item_id}")
        key_id = KeyId(UserId(UUID(self.accounts["ada"]["id"])), f"{request.method} {template}", key)
        with self.patch.context() as patch:
            patch.setattr(transact, "KEY_WAIT_SECONDS", 0.01)
            async with self.container.transact().key_locks(key_id, float("inf")):
                await self.send("request-in-progress", request.with_headers(Idempotency_Key=key))
        await self.send("invalid-request", request.with_headers(Idempotency_Key="\t"))

    async def refusals_of_sign_in(self) -> None:
        """Provoke the problems of signing up, signing in and refreshing. Bob signs in and refreshes once.

        Move the clock by 15 minutes, so that earlier sign-ups no longer count.
        """
        body = {"email": "joe@example.org", "username": "joe", "password": PASSWORD}
        await self.send("common-password", RequestTemplate("POST", "/users", body | {"password": "Password123"}))
        sign_up = RequestTemplate("POST", "/users", body | {"email": "ADA@example.org"})
        await self.send("email-taken", sign_up)
        await self.send("username-taken", RequestTemplate("POST", "/users", body | {"username": "BOB"}))
        signed_in = (await self.send(200, self.sign_in("bob", "another password"))).json()
        refresh = RequestTemplate("POST", "/auth/refresh", {"refresh_token": signed_in["refresh_token"]})
        await self.send(200, refresh)
        await self.send("invalid-refresh-token", refresh)
        for _ in range(10):
            await self.send("wrong-credentials", self.sign_in("nobody"))
        await self.send("too-many-attempts", self.sign_in("nobody"))
        self.clock.move(minutes=15)
        for _ in range(SIGN_UPS):
            await self.send("email-taken", sign_up)
        await self.send("too-many-attempts", sign_up)

    async def refusals_of_accounts(self) -> None:
        """Provoke the problems of reading, changing and deleting accounts.

        Move the clock by 15 minutes when too many passwords were wrong, and then change ada's e-mail address.
        """
        valid = self.valid_requests()
        change, delete = valid["change_account"], valid["delete_account"]
        for wrong in (change, delete):
            await self.send("user-not-found", wrong, path=f"/users/{NOBODY}")
            await self.send("not-your-account", wrong, by="bob")
            await self.send("account-inactive", wrong, by="eve")
        for path in (f"/users/{NOBODY}", f"/users/{NOBODY}/items"):
            await self.send("user-not-found", RequestTemplate("GET", path, by="ada"))
        await self.send("user-owns-items", delete)
        await self.send("common-password", change, content=change.content | {"password": "Password123"})
        for _ in range(10):
            await self.send("wrong-password", change, content=change.content | {"current_password": "wrong"})
        await self.send("too-many-attempts", change)
        self.clock.move(minutes=15)
        await self.send(200, change)
        await self.send("email-taken", change, content=change.content | {"email": "robert@example.org"})

    async def refusals_of_items(self) -> None:
        """Provoke the problems of reading, changing, deleting and transferring items, and of reused idempotency keys.

        To that end, transfer the lamp to bob and back, and create an item.
        """
        valid = self.valid_requests()
        change, delete, transfer = (valid[name] for name in ("change_item", "delete_item", "transfer_item"))
        nowhere = f"/items/{NOBODY}"
        for wrong in (change, delete, valid["read_item"]):
            await self.send("item-not-found", wrong, path=nowhere)
        await self.send("item-not-found", transfer, path=f"{nowhere}/transfer")
        await self.send("item-not-found", valid["list_transfers"], path=f"{nowhere}/transfers")
        for wrong in (change, delete, transfer):
            await self.send("item-not-owned", wrong, by="bob")
        for recipient, slug in (
            (NOBODY, "recipient-not-found"),
            (self.accounts["ada"]["id"], "recipient-is-owner"),
            (self.accounts["eve"]["id"], "recipient-inactive"),
        ):
            await self.send(slug, transfer, content={"to_user_id": recipient})
        await self.send(200, transfer.with_headers(Idempotency_Key="moved"))
        ada = {"to_user_id": self.accounts["ada"]["id"]}
        await self.send("idempotency-key-reused", transfer.with_headers(Idempotency_Key="moved"), content=ada)
        await self.send(200, transfer, content=ada, by="bob")
        await self.send(201, valid["create_item"].with_headers(Idempotency_Key="made"))
        await self.send(
            "idempotency-key-reused", self.create_item("Stool", "5", "ada").with_headers(Idempotency_Key="made")
        )

    async def refusals_of_tasks(self) -> None:
        """Provoke the problems of reading, changing and deleting tasks; create one, and reuse its idempotency key."""
        valid = self.valid_requests()
        for name in ("read_task", "put_task", "change_task", "delete_task"):
            await self.send("task-not-found", valid[name], path=f"/tasks/{NOBODY}")
            await self.send("task-not-found", valid[name], by="bob")
        await self.send(201, valid["create_task"].with_headers(Idempotency_Key="made"))
        other = {"title": "Stand"}
        await self.send(
            "idempotency-key-reused", valid["create_task"].with_headers(Idempotency_Key="made"), content=other
        )

    async def deletions(self) -> None:
        """Delete a task, all items of ada and her account; request some of them again, and list the users left."""
        valid = self.valid_requests()
        await self.send(200, valid["delete_task"].with_headers(If_Match='"3"'))
        await self.send(204, valid["delete_item"])
        await self.send("item-not-found", valid["read_item"])
        await self.send("item-not-found", valid["list_transfers"])
        mine = (await self.send(200, RequestTemplate("GET", "/users/me", by="ada"))).json()["id"]
        for item in (await self.send(200, RequestTemplate("GET", f"/users/{mine}/items?limit=100", by="ada"))).json()[
            "items"
        ]:
            await self.send(204, RequestTemplate("DELETE", f"/items/{item['id']}", by="ada"))
        await self.send(204, valid["delete_account"])
        await self.send("account-inactive", valid["read_account"])
        await self.send("account-inactive", valid["delete_account"])
        await self.send("user-not-found", valid["list_items_of_user"])
        await self.read_all_pages("/users")


async def exchanges_in_memory() -> list[Exchange]:
    """Return the requests and responses of the story on the in-memory store."""
    with pytest.MonkeyPatch.context() as patch:
        return await Story(IN_MEMORY, open_store(IN_MEMORY), patch).run()
