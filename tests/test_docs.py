"""What the documents say is so: their commands are run, and their tables compared."""

import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from application.idempotency import IdempotentRequest, idempotent
from application.transact import Transact
from application.use_cases.items import TransferItem
from bench import tables
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.settings import Settings
from interfaces.testing.builders import a_key, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.docs.blocks import blocks, comparable, snippets
from tests.package.test_outside_adapter import CERTIFY
from tests.support import capability_table
from tests.support.commands import COMMANDS
from tests.support.served import SECONDS_TO_RUN, environment, served

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BETWEEN = "-- between two snippets --"


async def test_the_story_of_the_readme(tmp_path: Path) -> None:
    text = README.read_text()
    script = f"\necho '{BETWEEN}'\n".join(snippets("sh", text))
    async with served(tmp_path, LOG_LEVEL="warning") as server:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            env=environment({}) | {"HANDOVER": server.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await shell.communicate()
        assert (shell.returncode, err.decode()) == (0, ""), out.decode()
    printed = [part.strip() for part in out.decode().split(BETWEEN)]
    promised = [part.strip() for part in snippets("json|text", text)]
    assert comparable("\n".join(filter(None, printed))) == comparable("\n".join(promised))


def test_the_readme_without_a_server_says_that_it_cannot_connect() -> None:
    define, sign_up = snippets("sh", README.read_text())[:2]
    with socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        shell = subprocess.run(
            ["bash", "-c", f"{define}\n{sign_up}"],
            env=environment({}) | {"HANDOVER": server},
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_RUN,
            check=False,
        )
    said = shell.stderr.splitlines()
    assert len(said) == 3
    assert all(line.startswith("curl: (7) ") for line in said)


def test_every_setting_is_in_its_table() -> None:
    rows = re.findall(
        r"^\| `HANDOVER_(\w+)` \| (?:`([^`]*)`)?(.*?) \| (.+) \|$", (ROOT / "docs/settings.md").read_text(), re.M
    )
    assert [name.lower() for name, *_ in rows] == list(Settings.model_fields)
    for name, default, otherwise, meaning in rows:
        field = Settings.model_fields[name.lower()]
        most = [str(bound.le) for bound in field.metadata if hasattr(bound, "le")]
        assert re.findall(r"at most (\d+)", meaning) == most, name
        if otherwise:
            assert field.default in (None, "", ()), name
        else:
            assert str(field.default).lower() == default.lower(), name


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    text = (ROOT / "docs/command-line.md").read_text()
    assert set(re.findall(r"`handover ([a-z ]+)`", text)) == COMMANDS.keys()


async def test_the_commands_on_that_page(tmp_path: Path) -> None:
    commands = [*snippets("sh", (ROOT / "docs/command-line.md").read_text()), "exit $?"]  # see test_completion.py
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join(commands)),
        cwd=tmp_path,
        env=environment({}) | {"PATH": path, "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(5 * SECONDS_TO_RUN):
        out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    assert "\nada@example.org\n" in out.decode()


def test_each_risk_of_the_owasp_top_10_names_its_test() -> None:
    rows = re.findall(r"^\| (API\d+) .* \| (.+) \|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)
    assert [risk for risk, _ in rows] == [f"API{number}" for number in range(1, 11)]
    tests = re.findall(
        r"^async def (test_api\w+)", (ROOT / "tests/security/test_owasp_api_top_10.py").read_text(), re.M
    )
    assert [named.strip("`") for _, named in rows if named.startswith("`")] == tests


def test_the_tables_of_figures_are_those_that_were_measured() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    missing = [
        f"{name}: {table.title}"
        for name, made in tables.saved().items()
        for table in made
        if table.markdown() not in text
    ]
    assert missing == [], "paste what `python -m bench tables` prints of bench/results"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(Settings(database_url=f"sqlite:///{tmp_path / 'x.db'}", _env_file=None))
    await store.upgrade()
    yield store
    await store.close()


async def test_the_statements_of_a_transfer(store: SqlStore) -> None:
    sent: list[str] = []

    def note(statement: str) -> None:
        for verb, table in re.findall(r"^(INSERT INTO|UPDATE|SELECT|COMMIT)(?:.*FROM)? ?(\w*)", statement, re.DOTALL):
            sent.append(f"{verb} {table}".strip())

    owner, taker = a_user(), a_user()
    item = an_item(owner)
    async with store.begin() as uow:
        await uow.users.add(owner)
        await uow.users.add(taker)
        await uow.items.add(item)
        await uow.commit()
    clock = SetClock()
    transfer = TransferItem(Transact(store.begin, clock), new_id, clock)
    async with store.database.writers.engine.connect() as connection:  # of which there is one
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.set_trace_callback(note)
    with idempotent(IdempotentRequest(a_key(caller=owner.id), b"fingerprint", lambda _: b"answer")):
        await transfer(item.id, by=owner.id, to=taker.id)

    (promised,) = snippets("sql", (ROOT / "docs/architecture.md").read_text())
    assert sent == promised.split("\n")[:-1]


def test_the_story_of_an_adapter_is_that_of_the_example() -> None:
    """tests/package runs its command where only wheels are installed."""
    text = (ROOT / "docs/adding-an-adapter.md").read_text()
    example = ROOT / "examples" / "handover-lmdb"
    code = "".join(file.read_text() for file in sorted((example / "src").rglob("*.py")))
    *story, _ = snippets("python", text)
    assert [snippet for snippet in story if snippet not in code] == []
    assert snippets("toml", text)[0] in (example / "pyproject.toml").read_text()
    command, in_pytest = snippets("sh", text)
    assert command.split() == ["handover", *CERTIFY]
    assert all(option in in_pytest for option in ("-p interfaces.certification.plugin", f"--certify {CERTIFY[-1]}"))


async def test_the_lock_of_an_adapter_is_kept_until_its_thread_has_ended() -> None:
    *_, snippet = snippets("python", (ROOT / "docs/adding-an-adapter.md").read_text())
    names: dict[str, Any] = {"asyncio": asyncio, "suppress": suppress}
    exec(f"async def save(lock, write, changes):\n{textwrap.indent(snippet, '    ')}", names)
    lock, began, may_end = asyncio.Lock(), threading.Event(), threading.Event()

    def write(changes: str) -> None:
        began.set()
        may_end.wait(60)

    saving = asyncio.create_task(names["save"](lock, write, "a change"))
    await asyncio.to_thread(began.wait, 60)
    for _ in range(2):
        saving.cancel()
        await asyncio.wait({saving}, timeout=0.2)
    was_locked = lock.locked()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert was_locked
    assert not lock.locked()


async def test_the_unit_tests_of_a_use_case_of_somebody_else(tmp_path: Path) -> None:
    named = {str(block.path): block.text for block in blocks((ROOT / "docs/unit-tests.md").read_text())}
    assert named.keys() == {"conftest.py", "pyproject.toml", "reduce_price.py", "test_reduce_price.py"}
    assert sum(len(named[name].splitlines()) for name in ("reduce_price.py", "test_reduce_price.py")) <= 70
    for name, content in named.items():
        (tmp_path / name).write_text(content)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert "2 passed" in out.decode()


def test_the_table_of_engines_is_what_the_adapters_state() -> None:
    found = capability_table.TABLE.search(README.read_text())
    assert found is not None
    assert found[0] == capability_table.generated(), (
        "to renew it: PYTHONPATH=src python -m tests.support.capability_table"
    )
