"""Copies of this repository, in which a test may change everything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = {
    "handover": "-m interfaces.cli.main",
    "lint-imports": '-c "from importlinter.cli import lint_imports_command as lint; lint()"',
    "mypy": "-m mypy",
    "pytest": "-m pytest",
    "ruff": "-m ruff",
}


SKIPPED = {".git", ".venv", ".venv-newest", ".mypy_cache", ".ruff_cache", "__pycache__", "build", "dist"}
OURS = "HANDOVER_", "PYTEST_", "PYTHONDONTWRITEBYTECODE"


def files() -> list[Path]:
    """Return all files that are or could be committed, relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.split("\0") if name]
    else:  # this is an archive of the files, without git
        names = [file.relative_to(ROOT) for file in ROOT.rglob("*") if not SKIPPED & {*file.relative_to(ROOT).parts}]
    return [name for name in names if (ROOT / name).is_file()]


def copy_of_the_checkout(folder: Path) -> Path:
    """Copy all files that are or could be committed, and return the folder.

    Its `.venv/bin` has the tools of this environment, which see the copy's packages in place of the checkout's.
    """
    for name in files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for tool, start in TOOLS.items():
        script = tools / tool
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder / "src"}" exec "{sys.executable}" {start} "$@"\n')
        script.chmod(0o755)
    return folder


def run(command: str, folder: Path, *, exit_code: int = 0, **variables: str) -> str:
    """Run a command of bash in a copy, assert its exit code and return its output.

    It gets this process's environment without settings of the server and of tests, and with these variables.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == exit_code, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
