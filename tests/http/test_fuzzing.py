"""Schemathesis, with all its checks and all links, against a server that runs: nothing that is sent breaks it."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engines import NewDatabase
from tests.served import Served, served

SECONDS = 20
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
ROOT = Path(__file__).parents[2]


async def person(http: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    """Signed up and in; with an item, so that no request can delete the account under the test."""
    body = {"email": f"{name}@example.org", "username": name, "password": f"the password of {name}"}
    assert (await http.post("/users", json=body)).status_code == 201
    signed_in = await http.post("/auth/token", data={"username": name, "password": body["password"]})
    token = signed_in.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await http.post("/items", json={"name": "Anchor", "price": 1}, headers=headers)).status_code == 201
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}


async def fuzz(server: Served, folder: Path) -> tuple[dict[str, Any], str]:
    """The verdict, and what was printed."""
    async with server.client() as http:
        people = [await person(http, name) for name in ("ada", "bob")]
        (folder / "people.yaml").write_text(json.dumps({"auth": people}))
        shutil.copy(CONFIGURATION, folder)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIGURATION.name}", "run"),
            *(f"{server.url}/openapi.json", f"--max-time={SECONDS}", "--no-color", "--report-json-path=verdict.json"),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        for one in people:
            header = one["fixedHeaders"][0]
            own = await http.get("/users/me", headers={header["name"]: header["value"]})
            assert own.status_code == 200, "the account is gone: from then on only 401 was tested"
    return json.loads((folder / "verdict.json").read_text()), printed.decode()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_nothing_that_is_sent_breaks_it(new_database: NewDatabase, tmp_path: Path) -> None:
    async with new_database() as database:
        await database.store.close()  # the server is who has it
        settings = {"DATABASE_URL": database.settings.database_url, "LOG_LEVEL": "error"}
        async with served(tmp_path, **settings) as server:
            verdict, printed = await fuzz(server, tmp_path)
            assert not [line for line in server.said.splitlines() if "[error" in line], server.said
    print(json.dumps({name: verdict[name] for name in ("operations", "phases", "test_cases", "running_time")}))
    assert verdict["complete"], printed
    assert verdict["failures"] == verdict["errors"] == [], printed
    assert verdict["operations"]["tested"] == verdict["operations"]["total"] >= 28, printed
    assert verdict["test_cases"]["generated"] >= 10 * verdict["operations"]["total"], printed
    assert {phase["status"] for phase in verdict["phases"].values()} == {"success"}, printed
