"""The command line but for serving: help, usage, settings, the OpenAPI document, migrations."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.settings import Settings
from tests.engines import NewDatabase
from tests.served import environment, handover

COMMANDS = ["serve", "settings", "openapi", "migrate up", "migrate down", "migrate status"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_shows_an_example(command: str, tmp_path: Path) -> None:
    run = await handover(*command.split(), "--help", folder=tmp_path)
    assert run.exit_code == 0
    assert f"handover {command}" in run.out.partition("Example:")[2]


async def test_help_names_all_commands_and_exit_codes(tmp_path: Path) -> None:
    run = await handover("--help", folder=tmp_path)
    assert run.exit_code == 0
    assert all(f"\n  {command.split()[0]} " in run.out for command in COMMANDS)
    assert "Exit codes: 0 " in run.out


@pytest.mark.parametrize("words", ["shout", "serve --loud", "migrate sideways", "openapi now"])
async def test_wrong_usage_exits_with_2(words: str, tmp_path: Path) -> None:
    run = await handover(*words.split(), folder=tmp_path)
    assert run.exit_code == 2
    assert "Usage: handover" in run.err


def test_the_installed_script_is_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("handover")
    run = subprocess.run(
        [script, "settings", "--json"], cwd=tmp_path, env=environment({"PORT": "1234"}), capture_output=True, check=True
    )
    assert json.loads(run.stdout)["HANDOVER_PORT"] == 1234


async def test_settings_come_from_the_environment_and_then_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HANDOVER_PORT=1111\nHANDOVER_WORKERS=3\nHANDOVER_HOST=\n")
    run = await handover("settings", "--json", folder=tmp_path, PORT="2222")
    shown = json.loads(run.out)
    assert (shown["HANDOVER_PORT"], shown["HANDOVER_WORKERS"], shown["HANDOVER_HOST"]) == (2222, 3, "127.0.0.1")
    assert shown["HANDOVER_PERSISTENCE"] == "sqlalchemy"
    assert list(shown) == [f"HANDOVER_{name.upper()}" for name in Settings.model_fields]
    plain = (await handover("settings", folder=tmp_path, PORT="2222")).out
    assert [line.split()[0] for line in plain.splitlines()] == list(shown)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hush@host/x",
        "postgresql://ann:hu/s@hush@host:5432/x?application_name=y",
        "postgresql://host/x?user=ann&password=hush",
        "postgresql://host/x?sslpassword=hush&application_name=y",
        "mongodb://ann:hush@one:27017,two:27017/x?replicaSet=rs0",
        "mongodb+srv://ann:hush@cluster/x?tlsCertificateKeyFilePassword=hush",
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
async def test_settings_show_no_secret(url: str, form: list[str], tmp_path: Path) -> None:
    secrets = {"SECRET_KEY": "hush1", "SECRET_KEY_PREVIOUS": "hush2", "METRICS_TOKEN": "hush3"}
    run = await handover("settings", *form, folder=tmp_path, DATABASE_URL=url, **secrets)
    assert run.exit_code == 0
    assert "hush" not in run.out + run.err
    assert "***" in run.out


async def test_openapi_needs_no_store(tmp_path: Path) -> None:
    run = await handover("openapi", folder=tmp_path, DATABASE_URL="mongodb://127.0.0.1:1/x")
    assert "/items/{item_id}/transfer" in json.loads(run.out)["paths"]
    assert run.err == ""


async def test_migrations_up_status_down(new_database: NewDatabase, engine: str, tmp_path: Path) -> None:
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url}

        async def current() -> bool:
            run = await handover("migrate", "status", "--json", folder=tmp_path, **settings)
            said = json.loads(run.out)
            assert run.exit_code == (0 if said["is_current"] else 1)
            assert said["is_current"] == (said["found"] == said["needed"])
            return bool(said["is_current"])

        has_schema = engine != "memory"
        assert await current() is not has_schema
        for _ in range(2):
            run = await handover("migrate", "up", folder=tmp_path, **settings)
            assert run.exit_code == 0
            assert "is current" in run.out
            assert await current()
        run = await handover("migrate", "down", folder=tmp_path, **settings)
        assert run.exit_code == 0
        assert await current() is not has_schema
