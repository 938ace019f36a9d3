"""The command line but for serving: help, usage, settings, the OpenAPI document, migrations."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infrastructure.settings import Settings
from interfaces.certification.database import NewDatabase
from interfaces.cli.commands import app
from tests.support.served import Run, environment, handover

COMMANDS = ["serve", "settings", "openapi", "migrate up", "migrate down", "migrate status", "purge", "copy", "doctor"]
COMMANDS += [f"users {word}" for word in ("create", "list", "activate", "deactivate")]


def invoke(*words: str, **settings: str) -> Result:
    """In this process, since what is looked at is said before anything is done."""
    return CliRunner(env=environment(settings)).invoke(app, words, prog_name="handover")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"handover {command}" in result.stdout.partition("Example:")[2]


def test_help_names_all_commands_and_exit_codes() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(f"\n  {command.split()[0]} " in result.stdout for command in COMMANDS)
    assert "Exit codes: 0 " in result.stdout


@pytest.mark.parametrize("words", ["shout", "serve --loud", "migrate sideways", "openapi now"])
def test_wrong_usage_exits_with_2(words: str) -> None:
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert "Usage: handover" in result.stderr


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
@pytest.mark.parametrize("form", ["", "--json"])
def test_settings_show_no_secret(url: str, form: str) -> None:
    secrets = {"SECRET_KEY": "hush1", "SECRET_KEY_PREVIOUS": "hush2", "METRICS_TOKEN": "hush3"}
    result = invoke("settings", *form.split(), DATABASE_URL=url, **secrets)
    assert result.exit_code == 0
    assert "hush" not in result.output
    assert "***" in result.stdout


async def test_openapi_needs_no_store(tmp_path: Path) -> None:
    run = await handover("openapi", folder=tmp_path, DATABASE_URL="mongodb://127.0.0.1:1/x")
    assert "/items/{item_id}/transfer" in json.loads(run.out)["paths"]
    assert run.err == ""


async def test_migrations_up_status_down(new_database: NewDatabase, engine: str, tmp_path: Path) -> None:
    async with new_database() as database:

        async def migrate(*words: str) -> Run:
            url, adapter = database.settings.database_url, database.settings.adapter
            return await handover("migrate", *words, folder=tmp_path, DATABASE_URL=url, PERSISTENCE=adapter)

        async def current() -> bool:
            run = await migrate("status", "--json")
            said = json.loads(run.out)
            assert run.exit_code == (0 if said["is_current"] else 1)
            assert said["is_current"] == (said["found"] == said["needed"])
            return bool(said["is_current"])

        has_schema = engine != "memory"
        assert await current() is not has_schema
        for _ in range(2):
            run = await migrate("up")
            assert (run.exit_code, run.err) == (0, "")
            assert "is current" in run.out
        assert (await migrate("down")).exit_code == 0
        assert await current() is not has_schema


async def test_variables_that_are_no_settings_are_pointed_out(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HANDOVER_LOGLEVEL=debug\nOTHER=1\n")
    run = await handover("settings", folder=tmp_path, PROT="8001", XYZZY="1", POOL_SIZE="5")
    assert run.exit_code == 0
    assert run.err.splitlines() == [
        "handover: HANDOVER_LOGLEVEL is not a setting; did you mean HANDOVER_LOG_LEVEL?",
        "handover: HANDOVER_PROT is not a setting; did you mean HANDOVER_PORT?",
        "handover: HANDOVER_XYZZY is not a setting",
    ]
