"""The exit code of every command: 0 done, 1 refused or failed, 2 wrong usage; and JSON alone on stdout where asked for.

What the commands do is tested elsewhere. A new command is tested here as soon as it has a row in DONE.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interfaces.cli.commands import app
from tests.support.commands import COMMANDS
from tests.support.served import environment, handover, served

ELSEWHERE = {
    "serve": "",  # below
    "certify": "--url memory://",  # in test_certify.py, since it takes seconds
}
DONE = {
    "copy": "sqlite:///handover.db sqlite:///copy.db",
    "doctor": "",
    "migrate down": "",
    "migrate status": "",
    "migrate up": "",
    "openapi": "",
    "purge": "",
    "settings": "",
    "users activate": "ada",
    "users create": "bob bob@example.org",
    "users deactivate": "ada",
    "users list": "",
}
"""What is written behind each command on a store in which there is one account, ada, so that it is done."""
ALWAYS_JSON = {"openapi"}
UNKNOWN = "handover: HANDOVER_PROT is not a setting; did you mean HANDOVER_PORT?"


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for words in (["migrate", "up"], ["users", "create", "ada", "ada@example.org"]):
        run = await handover(*words, folder=folder, typed="correct horse battery\n")
        assert run.exit_code == 0, run.err
    return folder / "handover.db"


def test_every_command_is_tested_here() -> None:
    assert {**ELSEWHERE, **DONE}.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", DONE)
async def test_0_is_done_and_only_json_is_on_stdout(command: str, store: Path, tmp_path: Path) -> None:
    """Nor does it harm that a variable is pointed out, once, on stderr."""
    shutil.copy(store, tmp_path)
    words = [*command.split(), *DONE[command].split(), *(["--json"] if command not in ALWAYS_JSON else [])]
    run = await handover(*words, folder=tmp_path, typed="correct horse battery\n", PROT="1")
    assert run.exit_code == 0, run.err
    json.loads(run.out)
    assert run.err.splitlines()[0] == UNKNOWN
    assert run.err.count("is not a setting") == 1


async def test_serving_is_done_after_a_signal(store: Path, tmp_path: Path) -> None:
    shutil.copy(store, tmp_path)
    async with served(tmp_path, WORKERS="2", DRAIN_SECONDS="0", PROT="1") as server:
        assert await server.stop() == 0
        assert server.said.count(UNKNOWN) == 1


@pytest.mark.parametrize("command", COMMANDS)
async def test_1_is_refused_with_one_line(command: str, tmp_path: Path) -> None:
    words = [*command.split(), *(ELSEWHERE | DONE)[command].split()]
    run = await handover(*words, folder=tmp_path, typed="correct horse battery\n", WORKERS="many")
    assert (run.exit_code, run.out) == (1, "")
    assert run.err.startswith("handover: HANDOVER_WORKERS: ")
    assert run.err.count("\n") == 1, run.err


@pytest.mark.parametrize("command", COMMANDS)
def test_2_is_wrong_usage(command: str) -> None:
    result = CliRunner(env=environment({})).invoke(app, [*command.split(), "--loud"], prog_name="handover")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Usage: handover {command} " in result.stderr
    assert "No such option: --loud" in result.stderr
