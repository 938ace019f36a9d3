"""What the documents say is so: their commands are run, their tables compared, their links followed."""

import asyncio
import re
from pathlib import Path

import pytest

from infrastructure.settings import Settings
from interfaces.cli.commands import app
from tests.served import environment, served

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
BETWEEN = "-- between two snippets --"


def snippets(language: str, text: str) -> list[str]:
    return re.findall(rf"^```(?:{language})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


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
