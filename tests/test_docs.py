"""What the documents say is so: their commands are run, their tables compared, their links followed."""

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from application.idempotency import IdempotentRequest, idempotent
from application.transact import Transact
from application.use_cases.items import TransferItem
from bench import tables
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.settings import Settings
from interfaces.cli.commands import app
from interfaces.testing.builders import a_key, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.support import capability_table
from tests.support.served import environment, served

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
BETWEEN = "-- between two snippets --"


def snippets(language: str, text: str) -> list[str]:
    found = re.findall(rf"^( *)```(?:{language})\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", snippet, flags=re.MULTILINE) for indent, snippet in found]


def comparable(text: str) -> str:
    """Ids become their place in the order of appearance, times become one."""
    ids: dict[str, str] = {}
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda id: ids.setdefault(id[0], f"<{len(ids)}>"), text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", text)


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


def test_every_setting_is_in_its_table() -> None:
    rows = re.findall(
        r"^\| `HANDOVER_(\w+)` \| (?:`([^`]*)`)?(.*?) \| (.+) \|$", (ROOT / "docs/settings.md").read_text(), re.M
    )
    assert [name.lower() for name, *_ in rows] == list(Settings.model_fields)
    for name, default, otherwise, _ in rows:
        field = Settings.model_fields[name.lower()]
        if otherwise:
            assert field.default in (None, "", ()), name
        else:
            assert str(field.default).lower() == default.lower(), name


def test_every_command_is_in_the_readme() -> None:
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert commands
    for command in [*commands, "migrate"]:
        assert f"`handover {command}" in README.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    named = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())
    assert all((document.parent / name).exists() for name in named), named


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


async def test_the_adapter_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed: a module on the path, and beside it what its package says of its entry points."""
    text = (ROOT / "docs/adding-an-adapter.md").read_text()
    (module,) = snippets("python", text)
    (declared,) = snippets("toml", text)
    entry_points = tomllib.loads(declared)["project"]["entry-points"]["handover.persistence"]
    (tmp_path / "papyrus.py").write_text(module)
    info = tmp_path / "papyrus-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: papyrus\nVersion: 1.0\n")
    lines = "".join(f"{name} = {where}\n" for name, where in entry_points.items())
    (info / "entry_points.txt").write_text(f"[handover.persistence]\n{lines}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with served(tmp_path, PERSISTENCE="papyrus", DATABASE_URL="memory://") as server, server.client() as client:
        assert (await client.get("/health/ready")).status_code == 200


def test_the_table_of_engines_is_what_the_adapters_state() -> None:
    found = capability_table.TABLE.search(README.read_text())
    assert found is not None
    assert found[0] == capability_table.generated(), (
        "to renew it: PYTHONPATH=src python -m tests.support.capability_table"
    )
