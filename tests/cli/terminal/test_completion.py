"""The completion of a shell: it completes what there is, and does not wait for what only running commands need."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.served import SECONDS_TO_RUN, environment

BIN = str(Path(sys.executable).parent)
COMPLETE = """
COMP_WORDS=($1) COMP_CWORD=$2
_handover_completion handover
echo "${COMPREPLY[@]}"
"""
SLOW = {"alembic", "dependency_injector", "fastapi", "pydantic_settings", "rich", "sqlalchemy", "structlog"}


async def bash(script: str, *words: str, home: Path, **given: str) -> str:
    """Run a script of bash, with `handover` on its path; return what it prints.

    The last line is there because bash replaces itself by its last command, whose shell is then not found.
    """
    shell = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-euc", f"{script}\nexit $?", "bash", *words),
        env=environment({}) | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)} | given,
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS_TO_RUN):
        out, err = await shell.communicate()
    assert (shell.returncode, err.decode()) == (0, "")
    return out.decode()


async def test_installing_it_for_bash_and_completing(tmp_path: Path) -> None:
    """With a misspelt variable, which is not pointed out in the middle of a line that is being typed."""
    said = await bash("handover --install-completion", home=tmp_path)
    assert "bash completion installed" in said
    completed = await bash(
        "set +eu; source ~/.bashrc\n" + COMPLETE + "set -- 'handover migrate up --j' 3\n" + COMPLETE,
        *("handover use", "1"),
        home=tmp_path,
        HANDOVER_PROT="1",
    )
    assert completed.split() == ["users", "--json"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("handover users ", "create list activate deactivate"), ("handover --ver", "--version")],
)
async def test_what_is_completed_without_slow_imports(typed: str, expected: str, tmp_path: Path) -> None:
    """The time of an import differs by machine, but not what is imported."""
    words = typed.split(" ")
    given = {"_HANDOVER_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); import runpy; "
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program + "runpy.run_module('interfaces.cli.main', run_name='__main__')"),
        env=environment({}) | given,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, modules = await process.communicate()
    assert (process.returncode, out.decode().split()) == (0, expected.split())
    assert {name.partition(".")[0] for name in modules.decode().split()} & SLOW == set()
