"""The client on the page for those who call the API works against a server."""

import asyncio
import sys
from pathlib import Path

from tests.docs.blocks import snippets
from tests.docs.copies import ROOT
from tests.support.served import SECONDS_TO_RUN, environment, served


async def test_the_client_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/calling-the-api.md").read_text()
    [script], [promised] = snippets("python", page), snippets("text", page)
    async with served(tmp_path, LOG_LEVEL="warning") as server:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=environment({}) | {"HANDOVER": server.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS_TO_RUN):
            out, err = await client.communicate()
    assert (client.returncode, err.decode(), out.decode()) == (0, "", promised)
