"""The command line but for serving: help, the version, settings, the OpenAPI document, migrations."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infrastructure.settings import Settings
from interfaces.certification.database import NewDatabase
from interfaces.cli.commands import app
from tests.support.commands import COMMANDS, GROUPS
from tests.support.served import Run, environment, handover

NOTHING_TO_UNDO = "There is no revision to undo.\n"


def invoke(*words: str, **settings: str) -> Result:
    """In this process, since what is looked at is said before anything is done, in a terminal of 80 columns."""
    given = environment(settings) | {"COLUMNS": "80"}
    return CliRunner(env=given).invoke(app, words, prog_name="handover")


def example_of(command: str) -> str:
    """The command line that its help shows, which can be copied as one line."""
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    [example] = re.findall(r"^  Example: (.+)$", result.stdout, re.MULTILINE)
    return str(example)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_the_command_takes(command: str) -> None:
    settings, name, after = re.split(rf"\b(handover {command}\b)", example_of(command))
    assert re.fullmatch(r"(HANDOVER_\w+=\S+ )*", settings)
    words = shlex.split(re.split(r"[|<>]", after)[0])
    COMMANDS[command].make_context(name, words)  # which raises an error of usage


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_names_its_commands_in_whole_sentences(group: str) -> None:
    assert f"handover {group}".strip() in example_of(group)
    shown = invoke(*group.split(), "--help").stdout
    inside = {command.removeprefix(group).split()[0] for command in COMMANDS if command.startswith(group)}
    lines = dict(re.findall(r"^  ([a-z]+) +([A-Z].*)$", shown.partition("Commands:")[2], re.MULTILINE))
    assert lines.keys() == inside
    assert all(line.endswith(".") and not line.endswith("...") for line in lines.values())
    assert group or "Exit codes: 0 " in shown


def test_the_version_is_that_of_the_package() -> None:
    result = invoke("--version", PORT="eighty")
    assert (result.exit_code, result.output) == (0, f"handover {version('handover')}\n")


@pytest.mark.parametrize("words", ["shout", "migrate sideways", "openapi now"])
def test_wrong_usage_exits_with_2(words: str) -> None:
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert "Usage: handover" in result.stderr


def test_the_installed_script_is_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("handover")
    run = subprocess.run(
        [script, "settings", "--json"], cwd=tmp_path, env=environment({"PORT": "1234"}), capture_output=True, check=True
    )
    assert json.loads(run.stdout)["HANDOVER_PORT"] == {"value": 1234, "source": "environment"}


async def test_settings_come_from_the_environment_and_then_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HANDOVER_PORT=1111\nhandover_workers=3\nHANDOVER_HOST=\n")
    run = await handover("settings", "--json", folder=tmp_path, PORT="2222", LOG_LEVEL="")
    shown = {name: (entry["value"], entry["source"]) for name, entry in json.loads(run.out).items()}
    assert list(shown) == [f"HANDOVER_{name.upper()}" for name in Settings.model_fields]
    assert shown["HANDOVER_PORT"] == (2222, "environment")
    assert shown["HANDOVER_WORKERS"] == (3, ".env")
    assert shown["HANDOVER_HOST"] == ("127.0.0.1", "default")
    assert shown["HANDOVER_LOG_LEVEL"] == ("info", "default")
    assert shown["HANDOVER_LOG_FORMAT"] == ("console", "default")
    assert shown["HANDOVER_PERSISTENCE"] == ("sqlalchemy", "default")
    assert shown["HANDOVER_SECRET_KEY"] == ("**********", "generated file")
    plain = (await handover("settings", folder=tmp_path, PORT="2222")).out
    assert [line.split()[0] for line in plain.splitlines()] == list(shown)
    assert re.search(r"^HANDOVER_PORT +environment +2222$", plain, re.MULTILINE)


def test_where_values_come_from_that_follow_from_another_setting() -> None:
    def source(name: str, **settings: str) -> str:
        return str(json.loads(invoke("settings", "--json", **settings).stdout)[f"HANDOVER_{name}"]["source"])

    assert source("PERSISTENCE", DATABASE_URL="memory://") == "from HANDOVER_DATABASE_URL"
    assert source("PERSISTENCE", DATABASE_URL="memory://", PERSISTENCE="memory") == "environment"
    for name in "LOG_FORMAT", "MIGRATE_ON_START", "SIGN_UPS_PER_ADDRESS":
        assert source(name, ENVIRONMENT="production") == "from HANDOVER_ENVIRONMENT"
        assert source(name) == "default"
    plain = invoke("settings", DATABASE_URL="memory://").stdout
    assert re.search("^HANDOVER_PERSISTENCE +from HANDOVER_DATABASE_URL +memory$", plain, re.MULTILINE)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"DATABASE_URL": "memory://"}, ["**********", "generated at start"]),
        ({"ENVIRONMENT": "production"}, [None, "default"]),
        ({"SECRET_KEY": "x", "ENVIRONMENT": "production"}, ["**********", "environment"]),
    ],
)
def test_where_the_secret_key_comes_from(settings: dict[str, str], shown: list[str]) -> None:
    result = invoke("settings", "--json", **settings)
    assert list(json.loads(result.stdout)["HANDOVER_SECRET_KEY"].values()) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hush@host/x",
        "postgresql://ann:hu@s:hush@host:5432/x?application_name=y",
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
        run = await migrate("down")
        assert (run.exit_code, run.err) == (0, "")
        assert re.fullmatch(r"Undone: 0*2\. The schema is now 0*1\.\n" if has_schema else NOTHING_TO_UNDO, run.out)
        assert await current() is not has_schema


async def test_variables_that_are_no_settings_are_pointed_out(tmp_path: Path) -> None:
    lines = [
        "HANDOVER_LOGLEVEL=debug",
        "OTHER=1",
        "# this is none",
        "export EXPORTED=1",
        "",
        "no setting",
        "HANDOVER_ENVIRONMENT",
        "HANDOVER-PORT=9000",
        "HANDOVER_DATABASE_URL:postgresql://ada:1843@localhost/handover?sslmode=require",
        "HANDOVER_HOST='127.0.0.1",
    ]
    (tmp_path / ".env").write_text("\n".join(lines))
    run = await handover("settings", folder=tmp_path, PROT="8001", XYZZY="1", POOL_SIZE="5")
    assert run.exit_code == 0
    assert re.findall("^HANDOVER_ENVIRONMENT +(.*?) {2}", run.out, re.MULTILINE) == ["default"]
    assert "1843" not in run.out + run.err
    reason = "is ignored, because it is not NAME=value, or has a quote that is not closed"
    assert run.err.splitlines() == [
        *(f"handover: line {number} of the file .env {reason}" for number in range(6, 11)),
        "handover: HANDOVER_LOGLEVEL is not a setting; did you mean HANDOVER_LOG_LEVEL?",
        "handover: HANDOVER_PROT is not a setting; did you mean HANDOVER_PORT?",
        "handover: HANDOVER_XYZZY is not a setting",
    ]


async def test_a_warning_of_a_library_is_one_line(tmp_path: Path) -> None:
    """asyncpg warns about a file with passwords that others may read, and does not use it."""
    (tmp_path / "passwords").write_text("127.0.0.1:1:handover:ann:sesame-opens\n")
    (tmp_path / "passwords").chmod(0o644)
    url = f"postgresql://ann@127.0.0.1:1/handover?passfile={tmp_path}/passwords"
    run = await handover("migrate", "status", folder=tmp_path, DATABASE_URL=url)
    warning, error = run.err.splitlines()
    assert warning.startswith("handover: password file ")
    assert "0600" in warning
    assert error.startswith("handover: PostgreSQL at 127.0.0.1:1 cannot be reached")


async def test_undoing_the_first_revision_has_to_be_asked_for(tmp_path: Path) -> None:
    assert (await handover("migrate", "up", folder=tmp_path)).exit_code == 0
    assert (await handover("migrate", "down", folder=tmp_path)).exit_code == 0
    refused = await handover("migrate", "down", folder=tmp_path)
    assert (refused.exit_code, refused.out) == (1, "")
    assert "--remove-everything" in refused.err
    assert "0001" in (await handover("migrate", "status", folder=tmp_path)).out
    assert (await handover("migrate", "down", "--remove-everything", folder=tmp_path)).exit_code == 0
    assert "none" in (await handover("migrate", "status", folder=tmp_path)).out
    for words in ["down"], ["down", "--remove-everything"]:
        run = await handover("migrate", *words, folder=tmp_path)
        assert (run.exit_code, run.out, run.err) == (0, NOTHING_TO_UNDO, "")


@pytest.mark.parametrize(
    "words",
    [
        "doctor",
        "purge",
        "users list",
        "users create ada ada@example.org",
        "users deactivate ada",
        "migrate status",
        "migrate down",
        "copy sqlite:///handover.db sqlite:///target.db",
    ],
)
async def test_a_sqlite_file_that_does_not_exist_is_not_created(words: str, tmp_path: Path) -> None:
    run = await handover(*words.split(), folder=tmp_path, typed="correct horse battery\n")
    assert (run.exit_code, run.out) == (1, "")
    name = "SOURCE_URL" if "copy" in words else "HANDOVER_DATABASE_URL"
    assert run.err == (
        f"handover: {name}: there is no SQLite file {tmp_path}/handover.db: check the name, or run"
        " `handover migrate up` to create it\n"
    )
    assert os.listdir(tmp_path) == []
