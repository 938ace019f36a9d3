"""Schemathesis, with all its checks and all links, against a running server: no input gives an undocumented answer.

The number of examples is fixed, and so is the seed, unless SEED names another one (`make test-long` does). The same
seed makes the same requests, but for ids and cursors, which come from the server's answers.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from interfaces.certification.database import NewDatabase
from tests.http.support.fuzzing import PASSWORD, RECIPIENT
from tests.support import engines
from tests.support.served import Served, served

EXAMPLES = int(os.environ.get("EXAMPLES") or 12)
"""Per operation, in each of Schemathesis's phases."""
SEED = int(os.environ.get("SEED") or 1)
KNOWN = "a password that the hooks know"
ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "tests" / "http" / "support" / "schemathesis.toml"


async def person(http: httpx2.AsyncClient, name: str) -> tuple[str, dict[str, str]]:
    """Somebody's id, and the header of requests in their name; with an item, so that no request deletes the account."""
    body = {"email": f"{name}@fuzzing.example", "username": name, "password": KNOWN}
    account = await http.post("/users", json=body)
    assert account.status_code == 201, account.text
    signed_in = await http.post("/auth/token", data={"username": name, "password": KNOWN})
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    assert (await http.post("/items", json={"name": "Anchor", "price": 1}, headers=headers)).status_code == 201
    return account.json()["id"], headers


async def fuzz(server: Served, folder: Path) -> tuple[dict[str, Any], str]:
    """The verdict, and what was printed."""
    async with server.client() as http:
        people = {name: await person(http, name) for name in ("first", "second", "third")}
        identities = [
            {"name": name, "fixedHeaders": [{"name": key, "value": value} for key, value in headers.items()]}
            for name, (_, headers) in people.items()
        ]
        (folder / "people.yaml").write_text(json.dumps({"auth": identities}))
        shutil.copy(CONFIGURATION, folder)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIGURATION.name}", "run"),
            *(f"{server.url}/openapi.json", f"--seed={SEED}", f"--max-examples={EXAMPLES}"),
            *("--generation-database=none", "--suppress-health-check=all"),  # neither yesterday nor the clock counts
            *("--no-color", "--report-json-path=verdict.json"),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", RECIPIENT: people["third"][0], PASSWORD: KNOWN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        for _, headers in people.values():
            own = await http.get("/users/me", headers=headers)
            assert own.status_code == 200, "the account is gone: from then on only 401 was tested"
    return json.loads((folder / "verdict.json").read_text()), printed.decode()


ON_ENGINES = ["sqlite", "postgresql"] if os.environ.get("EXAMPLES") else ["postgresql"]
"""On both, `make test-long` tries other requests; `make test` would send the same to each."""


@pytest.mark.parametrize("engine", [name for name in ON_ENGINES if name in engines.selected()])
async def test_nothing_that_is_sent_breaks_it(new_database: NewDatabase, tmp_path: Path) -> None:
    async with new_database() as database:
        await database.store.close()  # the server is who has it
        settings = {"DATABASE_URL": database.settings.database_url, "LOG_LEVEL": "error"}
        async with served(tmp_path, **settings) as server:
            verdict, printed = await fuzz(server, tmp_path)
            assert not [line for line in server.said.splitlines() if "[error" in line], server.said
    print(json.dumps({name: verdict[name] for name in ("operations", "test_cases", "valid_rates")}))
    assert verdict["complete"], printed
    assert verdict["failures"] == verdict["errors"] == [], printed
    assert verdict["operations"]["tested"] == verdict["operations"]["total"] >= 28, printed
    assert verdict["test_cases"]["generated"] >= 10 * verdict["operations"]["total"], printed
    assert {phase["status"] for phase in verdict["phases"].values()} == {"success"}, printed
