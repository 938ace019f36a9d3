"""The client on the page for those who call the API works against a server, where others have items, too."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from domain.session import ATTEMPT_WINDOW
from domain.user import MIN_PASSWORD_LENGTH
from infrastructure.settings import SIGN_UPS_IN_PRODUCTION, Settings
from tests.docs.blocks import snippets
from tests.docs.copies import ROOT
from tests.http.support.client import PASSWORD, sign_in
from tests.support.served import SECONDS_TO_RUN, environment, served

PAGE = (ROOT / "docs/calling-the-api.md").read_text()
CODE: dict[str, Any] = {}
"""What the page's script defines before it sends requests, by name."""
exec(snippets("python", PAGE)[0].partition("\naddress = ")[0], CODE)
Problem = CODE["Problem"]

NEW_PASSWORD = "incorrect donkey battery"
PROBLEM = "application/problem+json"
HTML = {"Content-Type": "text/html; charset=utf-8"}
IN_PROGRESS = b'{"type": "/problems/request-in-progress"}'


async def test_the_client_of_the_page(tmp_path: Path) -> None:
    [script], [promised] = snippets("python", PAGE), snippets("text", PAGE)
    async with served(tmp_path, LOG_LEVEL="warning") as server:
        async with server.client() as http:
            account = {"email": "grace@example.org", "username": "grace", "password": PASSWORD}
            (await http.post("/users", json=account)).raise_for_status()
            token = (await sign_in(http, "grace")).json()["access_token"]
            signed_in = {"Authorization": f"Bearer {token}"}
            (await http.post("/items", json={"name": "Lamp", "price": 1}, headers=signed_in)).raise_for_status()
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=environment({}) | {"HANDOVER": server.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS_TO_RUN):
            out, err = await client.communicate()
    assert (client.returncode, err.decode(), out.decode()) == (0, "", promised)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the client's pauses; it does not sleep."""
    pauses = list[float]()
    monkeypatch.setitem(CODE, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.mark.parametrize(
    ("status", "headers", "content", "pause"),
    [
        (503, {"Retry-After": "7"}, b"", 7),
        (503, {}, b"", 1),
        (503, {"Retry-After": "Sun, 22 Nov 2026 17:17:12 GMT"}, b"", 1),
        (408, {}, b"", 1),
        (502, HTML, b"<h1>Bad gateway</h1>", 1),
        (504, HTML | {"Retry-After": "7"}, b"<h1>Gateway timeout</h1>", 7),
        (409, {"Content-Type": PROBLEM, "Retry-After": "7"}, IN_PROGRESS, 7),
        (409, {"Content-Type": f"{PROBLEM}; charset=utf-8"}, IN_PROGRESS, 1),
    ],
)
def test_the_client_of_the_page_waits_as_long_as_the_server_says(
    pauses: list[float], status: int, headers: dict[str, str], content: bytes, pause: int
) -> None:
    answers = [httpx2.Response(status, headers=headers, content=content), httpx2.Response(200, json={"id": 1})]
    client = client_on(lambda _: answers.pop(0))
    assert client.send("GET", "/items/1").json() == {"id": 1}
    assert pauses == [pause]


@pytest.mark.parametrize("status", [502, 503, 504, None])
@pytest.mark.parametrize(("method", "arguments"), [("send", ("GET", "/items")), ("refresh", ()), ("sign_in", ({},))])
def test_the_client_of_the_page_retries_for_half_a_minute(
    pauses: list[float], method: str, arguments: tuple[Any, ...], status: int | None
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if status is None:
            raise httpx2.ReadTimeout("the answer is lost")
        return httpx2.Response(status)

    with pytest.raises((Problem, httpx2.ReadTimeout)):
        getattr(client_on(answer), method)(*arguments)
    assert sum(pauses) >= 30
    assert pauses == sorted(pauses)


@pytest.mark.parametrize("status", [401, 409, 429, 500])
def test_the_client_of_the_page_tells_what_a_proxy_answers(status: int) -> None:
    client = client_on(lambda _: httpx2.Response(status, headers=HTML, content=b"<h1>A proxy</h1>"))
    with pytest.raises(Problem, match=f"{status} None") as raised:
        client.send("GET", "/items")
    problem: Any = raised.value
    assert (problem.status, problem.type, problem.errors, problem.retry_after) == (status, None, [], 0)


def test_the_client_of_the_page_says_how_long_to_wait_after_too_many_attempts() -> None:
    headers, content = {"Content-Type": PROBLEM, "Retry-After": "840"}, b'{"type": "/problems/too-many-attempts"}'
    client = client_on(lambda _: httpx2.Response(429, headers=headers, content=content))
    with pytest.raises(Problem, match="429 /problems/too-many-attempts") as raised:
        client.sign_in({})
    problem: Any = raised.value
    assert problem.retry_after == 840


async def test_a_lost_refresh_makes_the_client_of_the_page_sign_in_and_ends_no_other_session(
    tmp_path: Path, pauses: list[float]
) -> None:
    def use(server: str) -> None:
        proxy, others_proxy = Proxy(server), Proxy(server)
        ada, other = proxy.client(), others_proxy.client()
        proxy.answers.clear()
        proxy.lost = ["POST /auth/refresh"] * 3
        ada.refresh()
        refreshed = [("POST /auth/refresh", status) for status in (200, 401, 401, 401)]
        assert proxy.answers == [*refreshed, ("POST /auth/token", 200)]
        for client, its_proxy in ((ada, proxy), (other, others_proxy)):
            its_proxy.answers.clear()
            client.refresh()
            assert its_proxy.answers == [("POST /auth/refresh", 200)]

    await on_a_server(use, tmp_path)


@pytest.mark.parametrize("lost", [0, 1, 8])
async def test_the_client_of_the_page_changes_the_password_although_answers_are_lost(
    tmp_path: Path, pauses: list[float], lost: int
) -> None:
    def use(server: str) -> None:
        proxy = Proxy(server)
        ada = proxy.client()
        path = f"/users/{ada.send('GET', '/users/me').json()['id']}"
        proxy.lost = [f"PATCH {path}"] * lost
        if lost == 8:  # all are: she calls it again, when her access token has expired, too
            with pytest.raises(httpx2.ReadTimeout):
                ada.change_password(path, NEW_PASSWORD)
            ada.http.headers["Authorization"] = "Bearer expired"
        ada.change_password(path, NEW_PASSWORD)
        changes = [status for request, status in proxy.answers if request == f"PATCH {path}"]
        assert changes == {0: [200], 1: [200, 403], 8: [200, *[403] * 7, 401]}[lost]
        assert ada.login == {"username": "ada", "password": NEW_PASSWORD}
        proxy.answers.clear()
        ada.refresh()
        ada.tokens["refresh_token"] = "of a session that has ended"
        ada.refresh()
        assert [status for _, status in proxy.answers] == [200, 401, 200]

    await on_a_server(use, tmp_path)


async def test_the_client_of_the_page_keeps_the_password_that_counts(tmp_path: Path, pauses: list[float]) -> None:
    def use(server: str) -> None:
        proxy = Proxy(server)
        ada = proxy.client()
        path = f"/users/{ada.send('GET', '/users/me').json()['id']}"
        with pytest.raises(Problem, match="422 /problems/common-password"):
            ada.change_password(path, "password123")
        assert ada.login["password"] == PASSWORD

        ada.login = {"username": "ada", "password": "another one"}
        with pytest.raises(Problem, match="401 /problems/wrong-credentials"):
            ada.change_password(path, NEW_PASSWORD)
        assert ada.login["password"] == "another one"

        ada.login = {"username": "ada", "password": PASSWORD}
        proxy.lost = ["POST /auth/token"] * 8
        with pytest.raises(httpx2.ReadTimeout):
            ada.change_password(path, NEW_PASSWORD)
        assert ada.login["password"] == NEW_PASSWORD
        ada.refresh()

    await on_a_server(use, tmp_path)


async def test_signing_in_takes_a_form_and_a_name_in_any_case_which_is_answered_in_lower_case(tmp_path: Path) -> None:
    async with served(tmp_path, LOG_LEVEL="warning") as server, server.client() as http:
        account = {"email": "Ada@Example.org", "username": "Ada", "password": PASSWORD}
        stored = (await http.post("/users", json=account)).json()
        assert (stored["email"], stored["username"]) == ("ada@example.org", "ada")
        for name in ("Ada", "ADA@example.org"):
            assert (await sign_in(http, name)).status_code == 200
        refused = await http.post("/auth/token", json={"username": "ada", "password": PASSWORD})
        assert refused.status_code == 415


def test_the_limits_on_the_page_are_the_defaults() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    minutes = ATTEMPT_WINDOW.total_seconds() / 60
    text = " ".join(PAGE.split())
    for statement in (
        f"{defaults['login_failures_per_account']} wrong passwords for one account",
        f"or {defaults['login_failures_per_address']} from one client address, within {minutes:.0f} minutes",
        f"one address can create {SIGN_UPS_IN_PRODUCTION} accounts in {minutes:.0f} minutes",
        f"A session ends {defaults['refresh_token_days']} days after its sign-in",
        f"passwords of fewer than {MIN_PASSWORD_LENGTH} characters",
    ):
        assert statement in text


def client_on(answer: Callable[[httpx2.Request], httpx2.Response], server: str = "http://test") -> Any:
    """A client of the page's class that has not signed in, whose requests get the answers that `answer` returns."""
    client = object.__new__(CODE["Client"])
    client.http = httpx2.Client(base_url=server, transport=httpx2.MockTransport(answer))
    client.login, client.tokens = {}, {"refresh_token": "of nobody"}
    return client


class Proxy:
    """Between a client of the page's class and a server; it loses the answers to the requests in `lost`, once each."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.network = httpx2.HTTPTransport()
        self.lost: list[str] = []
        self.answers: list[tuple[str, int]] = []
        """The requests, such as `GET /items`, and how the server has answered them, lost answers included."""

    def client(self) -> Any:
        """A client that has signed in as Ada."""
        client = client_on(self.answer, self.server)
        client.sign_in({"username": "ada", "password": PASSWORD})
        return client

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        response = self.network.handle_request(request)
        response.read()
        name = f"{request.method} {request.url.path}"
        self.answers.append((name, response.status_code))
        if name in self.lost:
            self.lost.remove(name)
            raise httpx2.ReadTimeout("the answer is lost")
        return response


async def on_a_server(use: Callable[[str], None], folder: Path) -> None:
    """Start a server on which Ada has an account, and call `use` with its address."""
    async with served(folder, LOG_LEVEL="warning") as server:
        async with server.client() as http:
            account = {"email": "ada@example.org", "username": "ada", "password": PASSWORD}
            (await http.post("/users", json=account)).raise_for_status()
        async with asyncio.timeout(SECONDS_TO_RUN):
            await asyncio.to_thread(use, server.url)
