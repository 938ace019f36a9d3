"""Every operation, and every problem that it can give, in one long story.

Time, ids, tokens and request ids are set, so that it is told in the same bytes wherever it is told.
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
from interfaces.certification.parity.recorder import Recorder, Told
from interfaces.http.app import attach_container, create_app
from interfaces.http.middleware import deadline
from interfaces.testing.clock_and_ids import SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens

PASSWORD = "correct horse battery staple"
NOBODY = "00000000-0000-7000-8000-0000000000ff"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Ask:
    """A request that is right, but for what is then made wrong with it."""

    method: str
    path: str
    content: Any = None
    form: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    by: str | None = None

    def having(self, **headers: str) -> "Ask":
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


class Fails:
    """Whatever is asked of it fails like this."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, _: str) -> "Fails":
        return self

    async def __call__(self, *_: object, **__: object) -> None:
        raise self.error


class Story:
    def __init__(self, settings: Settings, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.clock, self.patch = SetClock(), patch
        numbers, tokens, self.requests = count(1), count(1), count(1)
        self.container = build_container(settings.model_copy(update={"metrics_token": SecretStr("of the metrics")}))
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
            event_hooks={"request": [self.number]},
        )
        self.accounts: dict[str, dict[str, Any]] = {}

    async def number(self, request: Request) -> None:
        request.headers["X-Request-ID"] = f"request-{next(self.requests)}"

    async def ask(self, expected: int | str, ask: Ask, **changed: Any) -> Response:
        """Send it and see that the outcome is this status, or this problem."""
        ask = replace(ask, **changed)
        headers = dict(ask.headers)
        if ask.by is not None:
            headers["Authorization"] = f"Bearer {self.token(ask.by)}"
        content: dict[str, Any] = {}
        if isinstance(ask.content, bytes) or hasattr(ask.content, "__aiter__"):
            content["content"] = ask.content
            headers.setdefault("Content-Type", FORM if ask.form else JSON)
        elif ask.content is not None:
            content["data" if ask.form else "json"] = ask.content
        response = await self.http.request(ask.method, ask.path, headers=headers, **content)
        if isinstance(expected, str):
            assert_problem(response, response.status_code, expected)
        else:
            assert response.status_code == expected, f"{ask}: {response.text}"
        return response

    def token(self, name: str) -> str:
        return FakeTokens().issue(UserId(UUID(self.accounts[name]["id"])), self.clock()).token

    @contextmanager
    def failing(self, error: Exception) -> Iterator[None]:
        """Whatever lies below the routes fails, but for the check of tokens."""
        use_cases_and_ports = self.app.state.use_cases_and_ports
        fails = Fails(error)
        self.app.state.use_cases_and_ports = {
            cls: use_cases_and_ports[cls] if cls is Tokens else fails for cls in use_cases_and_ports
        }
        try:
            yield
        finally:
            self.app.state.use_cases_and_ports = use_cases_and_ports

    async def tell(self) -> list[Told]:
        async with self.http:
            await self.health_and_documents()
            await self.signing_up_and_in()
            await self.items()
            await self.tasks()
            await self.people()
            await self.refusals_of_every_operation()
            await self.refusals_of_sign_in()
            await self.refusals_of_accounts()
            await self.refusals_of_items()
            await self.refusals_of_tasks()
            await self.endings()
        return self.recorder.told

    async def health_and_documents(self) -> None:
        for method in ("GET", "HEAD"):
            for path in ("/", "/health/live", "/health/ready"):
                await self.ask(200, Ask(method, path))
                if method == "GET":
                    await self.ask("bad-request", Ask(method, path).having(Host="not a host"))
        await self.ask(200, Ask("GET", "/").having(Accept="text/html"))
        await self.ask(200, Ask("GET", "/problems/version-mismatch"))
        await self.ask("not-found", Ask("GET", "/problems/nope"))
        await self.ask("not-signed-in", Ask("GET", "/metrics"))
        await self.ask("invalid-token", Ask("GET", "/metrics").having(Authorization="Bearer x"))
        await self.ask(200, Ask("GET", "/metrics").having(Authorization="bearer of the metrics"))
        await self.ask("not-found", Ask("GET", "/nope"))
        await self.ask("method-not-allowed", Ask("DELETE", "/health/live"))
        await self.ask(307, Ask("GET", "/health/live/"))

    async def signing_up_and_in(self) -> None:
        for name in ("ada", "Bob", "eve"):
            body = {"email": f"{name}@Example.org", "username": name, "password": PASSWORD}
            created = await self.ask(201, Ask("POST", "/users", body))
            self.accounts[name.lower()] = created.json()
        tokens = (await self.ask(200, self.sign_in("ADA"))).json()
        refreshed = await self.ask(200, Ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]}))
        await self.ask(204, Ask("POST", "/auth/logout", {"refresh_token": refreshed.json()["refresh_token"]}))
        await self.ask(200, Ask("GET", "/users/me", by="ada"))

    def sign_in(self, login: str, password: str = PASSWORD) -> Ask:
        return Ask("POST", "/auth/token", {"username": login, "password": password}, form=True)

    def register(self, name: str, price: str, by: str, **fields: str) -> Ask:
        description = json.dumps(fields.get("description"))
        content = f'{{"name": {json.dumps(name)}, "price": {price}, "description": {description}}}'
        return Ask("POST", "/items", content.encode(), by=by)

    async def items(self) -> None:
        made = [
            await self.ask(201, self.register(name, price, by, description=description).having(Idempotency_Key=price))
            for name, price, by, description in [
                ("Lamp", "19.9", "ada", "Brass"),
                ("lamp", "1.230", "bob", ""),
                ("Zebra 🦓", "0", "ada", "Ünïcødé \\u2028 \n"),
                ("Ära", "9999999999.99", "ada", " "),
                ("\ufb01ne", "1e1", "bob", "x" * 2000),
            ]
        ]
        self.lamp = made[0].headers["location"]
        again = await self.ask(
            201, self.register("Lamp", "19.90", "ada", description="Brass").having(Idempotency_Key="19.9")
        )
        assert again.headers["idempotency-replayed"] == "true"
        for number in range(7):  # of equal prices and names, made at other times
            self.clock.move(milliseconds=number % 3)
            await self.ask(201, self.register("Box", "10", "ada" if number % 2 else "bob"))
        await self.ask(200, Ask("GET", self.lamp, by="bob"))
        await self.ask(200, Ask("HEAD", self.lamp, by="bob"))
        await self.ask(304, Ask("GET", self.lamp, by="bob").having(If_None_Match='"1"'))
        change = Ask("PATCH", self.lamp, by="ada")
        await self.ask(200, change, content={})
        await self.ask(200, change.having(If_Match='"1"'), content={"price": 20, "description": None})
        await self.ask(200, change.having(If_Match='"7", "2"'), content={"description": "Brass", "name": "Lamp"})
        for number in range(3):
            here, there = ("ada", "bob") if number % 2 == 0 else ("bob", "ada")
            self.clock.move(seconds=1)
            transfer = Ask("POST", f"{self.lamp}/transfer", {"to_user_id": self.accounts[there]["id"]}, by=here)
            await self.ask(200, transfer.having(If_Match=f'"{number + 3}"', Idempotency_Key=f"k{number}"))
        await self.ask(200, transfer.having(If_Match='"5"', Idempotency_Key="k2"))
        await self.ask(200, transfer, content={"to_user_id": self.accounts["ada"]["id"]}, by="bob")
        await self.walk(f"{self.lamp}/transfers?limit=3")
        await self.walk(f"{self.lamp}/transfers?skip=1&limit=2&count=false")
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
            await self.walk(f"/items?{query}")
        for name in ("ada", "bob", "eve"):
            await self.walk(f"/users/{self.accounts[name]['id']}/items?sort=-price&limit=3&max_price=20")

    async def walk(self, address: str) -> None:
        """From page to page, as their links lead."""
        following: str | None = address
        while following:
            page = await self.ask(200, Ask("GET", following, by="ada"))
            following = page.links["next"]["url"] if "next" in page.links else None

    async def tasks(self) -> None:
        for number, status in enumerate(("pending", "in_progress", "completed", "cancelled", "pending")):
            self.clock.move(days=3)
            body = {"title": f"Task {number % 2} é", "description": "x" * number or None, "status": status}
            made = await self.ask(201, Ask("POST", "/tasks", body, by="ada").having(Idempotency_Key=str(number)))
        await self.ask(201, Ask("POST", "/tasks", {"title": "Bob's"}, by="bob"))
        await self.ask(201, Ask("POST", "/tasks", body, by="ada").having(Idempotency_Key="4"))
        self.task = made.headers["location"]
        await self.ask(200, Ask("GET", self.task, by="ada"))
        await self.ask(304, Ask("GET", self.task, by="ada").having(If_None_Match="*"))
        await self.ask(200, Ask("PUT", self.task, {"status": "completed"}, by="ada").having(If_Match='"1"'))
        await self.ask(200, Ask("PATCH", self.task, {"title": "Other", "description": None}, by="ada"))
        await self.ask(200, Ask("PATCH", self.task, {"title": "Other"}, by="ada").having(If_Match="*"))
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
            await self.walk(f"/tasks{query}")

    async def people(self) -> None:
        await self.walk("/users?limit=2")
        for name in ("ada", "bob"):
            await self.ask(200, Ask("GET", f"/users/{self.accounts[name]['id']}", by="bob"))
        body = {"email": "Robert@example.org", "password": "another password", "current_password": PASSWORD}
        await self.ask(200, Ask("PATCH", f"/users/{self.accounts['bob']['id']}", body, by="bob"))
        deactivate: DeactivateUser = self.app.state.use_cases_and_ports[DeactivateUser]
        await deactivate("eve")
        await self.ask(200, Ask("GET", f"/users/{self.accounts['eve']['id']}", by="bob"))
        await self.ask(200, Ask("GET", f"/users/{self.accounts['eve']['id']}", by="eve"))
        await self.ask("wrong-credentials", self.sign_in("eve"))

    def right(self) -> dict[str, Ask]:
        """For each operation a request that would succeed now."""
        ada, bob = (self.accounts[name]["id"] for name in ("ada", "bob"))
        user = f"/users/{ada}"
        asks = {
            "start": Ask("GET", "/"),
            "live": Ask("GET", "/health/live"),
            "ready": Ask("GET", "/health/ready"),
            "explain_problem": Ask("GET", "/problems/busy"),
            "create_user": Ask(
                "POST", "/users", {"email": "joe@example.org", "username": "joe", "password": "joe has a password"}
            ),
            "sign_in": self.sign_in("ada"),
            "refresh_session": Ask("POST", "/auth/refresh", {"refresh_token": "x"}),
            "sign_out": Ask("POST", "/auth/logout", {"refresh_token": "x"}),
        }
        closed = {
            "read_account": Ask("GET", "/users/me"),
            "list_users": Ask("GET", "/users"),
            "read_user": Ask("GET", user),
            "change_account": Ask("PATCH", user, {"email": "countess@example.org", "current_password": PASSWORD}),
            "delete_account": Ask("DELETE", user),
            "create_item": Ask("POST", "/items", {"name": "Chair", "price": 5}),
            "list_items": Ask("GET", "/items"),
            "list_items_of_user": Ask("GET", f"{user}/items"),
            "read_item": Ask("GET", self.lamp),
            "change_item": Ask("PATCH", self.lamp, {"price": 7}),
            "delete_item": Ask("DELETE", self.lamp),
            "transfer_item": Ask("POST", f"{self.lamp}/transfer", {"to_user_id": bob}),
            "list_transfers": Ask("GET", f"{self.lamp}/transfers"),
            "create_task": Ask("POST", "/tasks", {"title": "Sit"}),
            "list_tasks": Ask("GET", "/tasks"),
            "list_tasks_by_status": Ask("GET", "/tasks/by-status/pending"),
            "list_recent_tasks": Ask("GET", "/tasks/recent"),
            "read_task": Ask("GET", self.task),
            "put_task": Ask("PUT", self.task, {"title": "Stand"}),
            "change_task": Ask("PATCH", self.task, {"title": "Walk"}),
            "delete_task": Ask("DELETE", self.task),
        }
        return asks | {name: replace(ask, by="ada") for name, ask in closed.items()}

    async def refusals_of_every_operation(self) -> None:
        """What follows from what an operation takes and needs, whatever it does."""
        storeless = {"start", "live", "explain_problem"}
        for name, ask in self.right().items():
            if ask.by is not None:
                await self.ask("not-signed-in", ask, by=None)
                await self.ask("invalid-token", replace(ask, by=None).having(Authorization="Bearer x"))
            if name not in storeless:
                for error, slug in (
                    (Unavailable("the store is away"), "store-unavailable"),
                    (Busy("the store is busy"), "busy"),
                    *([(OutcomeUnknown(), "outcome-unknown")] if ask.method != "GET" else []),
                ):
                    with self.failing(error):
                        await self.ask(slug, ask)
            if ask.method != "GET" and ask.by is not None and name not in {"change_account", "delete_account"}:
                await self.ask("account-inactive", ask, by="eve")
            if ask.content is not None:
                await self.refusals_of_bodies(ask)
            if ask.method == "POST" and ask.by is not None:
                await self.refusals_of_keys(ask)
            if name in {"change_item", "delete_item", "transfer_item", "put_task", "change_task", "delete_task"}:
                await self.ask("version-mismatch", ask.having(If_Match='"999"'))
        for path in ("/users/x", "/items/x", "/tasks/x", "/users/x/items", "/items/x/transfers", "/tasks/by-status/x"):
            await self.ask("invalid-request", Ask("GET", path, by="ada"))
        for path in ("/users", "/items", "/tasks", "/tasks/recent"):
            await self.ask("invalid-request", Ask("GET", f"{path}?limit=0&skip=-1&count=x", by="ada"))
            await self.ask("invalid-request", Ask("GET", f"{path}?cursor=x", by="ada"))
        await self.ask("invalid-request", Ask("GET", "/items?min_price=2&max_price=1", by="ada"))
        for path in ("/users/x", "/items/x", "/tasks/x"):
            await self.ask("invalid-request", Ask("DELETE", path, by="ada"))

    async def refusals_of_bodies(self, ask: Ask) -> None:
        async def endless() -> AsyncIterator[bytes]:
            await asyncio.sleep(60)
            yield b""

        await self.ask("content-too-large", ask, content=b" " * 65537)
        await self.ask("unsupported-media-type", ask.having(Content_Type="text/plain"), content=b"x")
        await self.ask("invalid-request", ask, content=b"[]")
        if ask.form:
            await self.ask("bad-request", ask, content=b"a&" * 5000)
        with self.patch.context() as patch:
            patch.setattr(deadline, "BODY_SECONDS", 0.01)
            await self.ask("request-timeout", ask, content=endless())

    async def refusals_of_keys(self, ask: Ask) -> None:
        key = f"in flight {ask.path}"
        template = ask.path.replace(self.lamp, "/items/{item_id}")
        key_id = KeyId(UserId(UUID(self.accounts["ada"]["id"])), f"{ask.method} {template}", key)
        with self.patch.context() as patch:
            patch.setattr(transact, "KEY_WAIT_SECONDS", 0.01)
            async with self.container.transact().key_locks(key_id, float("inf")):
                await self.ask("request-in-progress", ask.having(Idempotency_Key=key))
        await self.ask("invalid-request", ask.having(Idempotency_Key="\t"))

    async def refusals_of_sign_in(self) -> None:
        body = {"email": "joe@example.org", "username": "joe", "password": PASSWORD}
        await self.ask("common-password", Ask("POST", "/users", body | {"password": "Password123"}))
        await self.ask("email-taken", Ask("POST", "/users", body | {"email": "ADA@example.org"}))
        await self.ask("username-taken", Ask("POST", "/users", body | {"username": "BOB"}))
        signed_in = (await self.ask(200, self.sign_in("bob", "another password"))).json()
        refresh = Ask("POST", "/auth/refresh", {"refresh_token": signed_in["refresh_token"]})
        await self.ask(200, refresh)
        await self.ask("invalid-refresh-token", refresh)
        for _ in range(10):
            await self.ask("wrong-credentials", self.sign_in("nobody"))
        await self.ask("too-many-attempts", self.sign_in("nobody"))

    async def refusals_of_accounts(self) -> None:
        ask = self.right()
        change, delete = ask["change_account"], ask["delete_account"]
        for wrong in (change, delete):
            await self.ask("user-not-found", wrong, path=f"/users/{NOBODY}")
            await self.ask("not-your-account", wrong, by="bob")
            await self.ask("account-inactive", wrong, by="eve")
        for path in (f"/users/{NOBODY}", f"/users/{NOBODY}/items"):
            await self.ask("user-not-found", Ask("GET", path, by="ada"))
        await self.ask("user-owns-items", delete)
        await self.ask("common-password", change, content=change.content | {"password": "Password123"})
        for _ in range(10):
            await self.ask("wrong-password", change, content=change.content | {"current_password": "wrong"})
        await self.ask("too-many-attempts", change)
        self.clock.move(minutes=15)
        await self.ask(200, change)
        await self.ask("email-taken", change, content=change.content | {"email": "robert@example.org"})

    async def refusals_of_items(self) -> None:
        ask = self.right()
        change, delete, transfer = (ask[name] for name in ("change_item", "delete_item", "transfer_item"))
        nowhere = f"/items/{NOBODY}"
        for wrong in (change, delete, ask["read_item"]):
            await self.ask("item-not-found", wrong, path=nowhere)
        await self.ask("item-not-found", transfer, path=f"{nowhere}/transfer")
        await self.ask("item-not-found", ask["list_transfers"], path=f"{nowhere}/transfers")
        for wrong in (change, delete, transfer):
            await self.ask("item-not-owned", wrong, by="bob")
        for recipient, slug in (
            (NOBODY, "recipient-not-found"),
            (self.accounts["ada"]["id"], "recipient-is-owner"),
            (self.accounts["eve"]["id"], "recipient-inactive"),
        ):
            await self.ask(slug, transfer, content={"to_user_id": recipient})
        await self.ask(200, transfer.having(Idempotency_Key="moved"))
        ada = {"to_user_id": self.accounts["ada"]["id"]}
        await self.ask("idempotency-key-reused", transfer.having(Idempotency_Key="moved"), content=ada)
        await self.ask(200, transfer, content=ada, by="bob")
        await self.ask(201, ask["create_item"].having(Idempotency_Key="made"))
        await self.ask("idempotency-key-reused", self.register("Stool", "5", "ada").having(Idempotency_Key="made"))

    async def refusals_of_tasks(self) -> None:
        ask = self.right()
        for name in ("read_task", "put_task", "change_task", "delete_task"):
            await self.ask("task-not-found", ask[name], path=f"/tasks/{NOBODY}")
            await self.ask("task-not-found", ask[name], by="bob")
        await self.ask(201, ask["create_task"].having(Idempotency_Key="made"))
        other = {"title": "Stand"}
        await self.ask("idempotency-key-reused", ask["create_task"].having(Idempotency_Key="made"), content=other)

    async def endings(self) -> None:
        ask = self.right()
        await self.ask(200, ask["delete_task"].having(If_Match='"3"'))
        await self.ask(204, ask["delete_item"])
        await self.ask("item-not-found", ask["read_item"])
        await self.ask("item-not-found", ask["list_transfers"])
        mine = (await self.ask(200, Ask("GET", "/users/me", by="ada"))).json()["id"]
        for item in (await self.ask(200, Ask("GET", f"/users/{mine}/items?limit=100", by="ada"))).json()["items"]:
            await self.ask(204, Ask("DELETE", f"/items/{item['id']}", by="ada"))
        await self.ask(204, ask["delete_account"])
        await self.ask("account-inactive", ask["read_account"])
        await self.ask("account-inactive", ask["delete_account"])
        await self.ask("user-not-found", ask["list_items_of_user"])
        await self.walk("/users")


async def told_in_memory() -> list[Told]:
    """Return the answers of the in-memory engine."""
    with pytest.MonkeyPatch.context() as patch:
        return await Story(IN_MEMORY, open_store(IN_MEMORY), patch).tell()
