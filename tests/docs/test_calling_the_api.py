"""The client on the page for those who call the API works against a server, where others have items, too."""

import asyncio
import sys
from pathlib import Path

from tests.docs.blocks import snippets
from tests.docs.copies import ROOT
from tests.http.support.client import PASSWORD, sign_in
from tests.support.served import SECONDS_TO_RUN, environment, served


async def test_the_client_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/calling-the-api.md").read_text()
    [script], [promised] = snippets("python", page), snippets("text", page)
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
