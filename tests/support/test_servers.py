"""The servers that other tests rely on: they answer, outlive a kill, leave nothing behind, and say what they lack."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from tests.support import servers
from tests.support.guard import alive, family
from tests.support.servers import Mongo, Postgres, ServerNotStarted, mongodb, postgres


async def write_to_postgresql(url: str) -> int:
    """Write in a transaction; return how many have."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("create table if not exists written (); insert into written default values")
            return int(await connection.fetchval("select count(*) from written"))
    finally:
        await connection.close()


async def write_to_mongodb(url: str) -> int:
    """Write in a transaction; return how many have."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, w="majority")
    async with client, client.start_session() as session, await session.start_transaction():
        await client["test"]["written"].insert_one({"by": "a test"}, session=session)
        return await client["test"]["written"].count_documents({}, session=session)


@dataclass(frozen=True)
class Engine:
    run: Callable[[], AbstractContextManager[Postgres | Mongo]]
    write: Callable[[str], Awaitable[int]]
    program: str


ENGINES = {
    "postgresql": Engine(postgres, write_to_postgresql, Postgres.program_variable),
    "mongodb": Engine(mongodb, write_to_mongodb, Mongo.program_variable),
}


@pytest.fixture(autouse=True)
def servers_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(Postgres.url_variable, raising=False)
    monkeypatch.delenv(Mongo.url_variable, raising=False)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def server(engine: Engine) -> Iterator[Postgres | Mongo]:
    with engine.run() as server:
        yield server


async def test_nothing_is_left_of_a_server(engine: Engine) -> None:
    with engine.run() as server:
        assert await engine.write(server.url) == 1
        processes, folder = family(server.pid), server.folder
        assert server.pid in alive(processes)
        assert folder.exists()

    assert not alive(processes)
    assert not folder.exists()


async def test_a_killed_server_starts_again_with_its_data(engine: Engine, server: Postgres | Mongo) -> None:
    await engine.write(server.url)
    killed = family(server.pid)

    server.kill()
    assert not alive(killed)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)

    with pytest.raises(ServerNotStarted, match="not running"):
        server.kill()

    server.start()
    assert await engine.write(server.url) == 2


async def test_a_paused_server_does_not_answer_until_it_is_resumed(engine: Engine, server: Postgres | Mongo) -> None:
    server.pause()
    _, connection = await asyncio.open_connection("127.0.0.1", server.port)
    connection.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.write(server.url), 0.5)

    server.resume()
    assert await engine.write(server.url) == 1


async def test_postgresql_takes_settings() -> None:
    with postgres("fsync=on") as server:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("show fsync") == "on"
        assert await connection.fetchval("show synchronous_commit") == "on"
        await connection.close()


async def test_a_standalone_mongodb_has_no_transactions() -> None:
    with mongodb(standalone=True) as server, pytest.raises(OperationFailure, match="replica set"):
        await write_to_mongodb(server.url)


PARENT = """
import time
from tests.support.guard import family
from tests.support.servers import mongodb, postgres

with postgres() as one, mongodb() as other:
    one.pause()
    print(*family(one.pid), *family(other.pid), flush=True)
    print(one.folder, other.folder, flush=True)
    time.sleep(60)
"""


# The capability lets an ordinary user run these very files, even from a clone below /root.
AS_NOBODY = (
    "setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override"
)
RUN_AS: dict[str, list[str]] = {"as we are": []} | ({"as nobody": AS_NOBODY.split()} if os.geteuid() == 0 else {})


@pytest.mark.parametrize("run_as", RUN_AS.values(), ids=RUN_AS)
def test_servers_end_with_a_killed_parent_even_paused(run_as: list[str]) -> None:
    command = [*run_as, sys.executable, "-c", PARENT]
    top = Path(servers.__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=top) as parent:
        assert parent.stdout
        processes = {int(pid) for pid in parent.stdout.readline().split()}
        folders = [Path(folder) for folder in parent.stdout.readline().split()]
        assert len(alive(processes)) > 2
        parent.kill()

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (alive(processes) or any(folder.exists() for folder in folders)):
        time.sleep(0.05)
    assert not alive(processes)
    assert not [folder for folder in folders if folder.exists()]


def test_postgresql_starts_from_a_folder_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    installed = Postgres([]).programs()
    (tmp_path / "postgresql").symlink_to(installed.parent)
    monkeypatch.setenv("HANDOVER_PG_BIN", str(tmp_path / "postgresql" / "bin"))

    with postgres() as server:
        assert asyncio.run(write_to_postgresql(server.url)) == 1


def test_a_wrong_path_is_named_with_its_variable(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(engine.program, str(tmp_path / "none"))
    with pytest.raises(ServerNotStarted, match=rf"^[^\n]*{tmp_path}/none[^\n]*{engine.program}[^\n]*$"), engine.run():
        pass


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file",
            r"^[^\n]*libcurl.so.4[^\n]*libcurl4[^\n]*HANDOVER_MONGOD or HANDOVER_TEST_MONGODB_URL$",
        ),
        ("Error: no space left", r"^MongoDB did not start[^\n]*\n  Error: no space left$"),
        ("", r"^MongoDB did not start[^\n]*\n  exit code 3$"),
    ],
)
def test_a_program_that_fails_is_explained(
    output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mongod"
    program.write_text(f"#!/bin/sh\necho '{output}' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("HANDOVER_MONGOD", str(program))
    with pytest.raises(ServerNotStarted, match=message), mongodb():
        pass


def test_a_missing_package_is_named_with_the_variables(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engine.program, raising=False)
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ServerNotStarted, match=rf"^[^\n]*{engine.program}[^\n]*_URL[^\n]*$"), engine.run():
        pass


@pytest.mark.parametrize("variable", [Postgres.url_variable, Mongo.url_variable])
def test_a_given_server_is_used_and_never_killed(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "scheme://elsewhere")
    with postgres() if variable == Postgres.url_variable else mongodb() as server:
        assert server.url == "scheme://elsewhere"
        for method in (server.kill, server.start, server.pause, server.resume):
            with pytest.raises(ServerNotStarted, match=variable):
                method()
