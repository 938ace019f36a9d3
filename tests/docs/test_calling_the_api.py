"""The client on the page for those who call the API works against a server, where others have items, too."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.docs.blocks import snippets
from tests.docs.copies import ROOT
from tests.http.support.client import PASSWORD, sign_in
from tests.support.served import SECONDS_TO_RUN, environment, served

PAGE = (ROOT / "docs/calling-the-api.md").read_text()


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


@pytest.mark.parametrize(
    ("first", "pause"),
    [
        (httpx2.Response(503, headers={"Retry-After": "7"}), 7),
        (httpx2.Response(503), 1),
        (httpx2.Response(408), 1),
        (
            httpx2.Response(409, headers={"Retry-After": "7"}, json={"type": "/problems/request-in-progress"}),
            7,
        ),
    ],
)
def test_the_client_of_the_page_waits_as_long_as_the_server_says(
    monkeypatch: pytest.MonkeyPatch, first: httpx2.Response, pause: int
) -> None:
    answers, pauses = [first, httpx2.Response(200, json={"id": 1})], list[float]()
    monkeypatch.setattr(time, "sleep", pauses.append)
    client = client_answered_with(answers)
    assert client.send("GET", "/items/1").json() == {"id": 1}
    assert pauses == [pause]


def test_the_client_of_the_page_tells_what_a_proxy_answers() -> None:
    client = client_answered_with([httpx2.Response(502, text="Bad gateway")])
    with pytest.raises(Exception, match="502 None"):
        client.send("GET", "/items")


def client_answered_with(answers: list[httpx2.Response]) -> Any:
    """A client of the page's class, which is signed in and whose requests get these answers, one after another."""
    [script] = snippets("python", PAGE)
    names: dict[str, Any] = {}
    exec(script.partition("\naddress = ")[0], names)
    client = object.__new__(names["Client"])
    client.http = httpx2.Client(base_url="http://test", transport=httpx2.MockTransport(lambda _: answers.pop(0)))
    return client
