"""scripts/rename.py makes a service of another name, which passes its own checks."""

import json
import re
from pathlib import Path

import pytest

from tests.docs.blocks import snippets
from tests.docs.copies import ROOT, copy_of_the_checkout, run
from tests.support.wheels import install_wheels

GIT = "git -c user.name=x -c user.email=x -c commit.gpgsign=false"
COMMIT = f"git init -q && git add -A && {GIT} commit -qm copy"
PICTURE = b"\x89PNG"
[COMMAND] = snippets("sh", (ROOT / "docs/your-own-service.md").read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_of_the_checkout(tmp_path_factory.mktemp("clone"))
    (root / "docs/handover.png").write_bytes(PICTURE)
    run(COMMIT, root)
    return root


@pytest.fixture(scope="module")
def lending(clone: Path) -> Path:
    run(COMMAND, clone)
    run(".venv/bin/ruff check -q --fix-only && .venv/bin/ruff format -q", clone)
    return clone


@pytest.fixture(scope="module")
def python(lending: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which the renamed distribution is installed, beside its command."""
    python = install_wheels(tmp_path_factory.mktemp("wheel"), lending)
    command = python.parent / "lending"
    command.write_text(f'#!/bin/sh\nexec "{python}" -m interfaces.cli.main "$@"\n')
    command.chmod(0o755)
    return python


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Lending",
        "our-service",
        "1st",
        "handover",
        "json",
        "class",
        "domain",
        "items",
        "two names",
        "averylongname",
        "rich",
    ],
)
def test_another_kind_of_name_is_refused(clone: Path, name: str) -> None:
    said = run(f"python3 scripts/rename.py {name} 2>&1", clone, exit_code=1)
    assert "small letters and digits" in said or "is taken" in said
    assert said.count("\n") == 1


def test_a_clone_with_changes_is_refused(clone: Path) -> None:
    (clone / "new").touch()
    said = run(f"{COMMAND.strip()} 2>&1", clone, exit_code=1)
    assert said == "There are changes that are not committed. Commit or stash them, so that you can undo this by git.\n"
    (clone / "new").unlink()
    assert run("git status --porcelain", clone) == ""


def test_nothing_but_the_licence_has_the_old_name(lending: Path) -> None:
    run("git add -A", lending)
    assert run("git grep --cached -il handover", lending) == "LICENSE\n"
    assert "handover" not in run("git ls-files", lending)


def test_the_page_keeps_what_is_still_to_be_done(lending: Path) -> None:
    page = (lending / "docs/your-own-service.md").read_text()
    assert re.findall("^## (.+)$", page, re.MULTILINE) == ["What remains for you", "Keep", "Add, then remove"]
    assert "rename.py" not in page


def test_a_file_that_is_not_text_stays_as_it_is(lending: Path) -> None:
    assert (lending / "docs/lending.png").read_bytes() == PICTURE
    (lending / "docs/lending.png").unlink()


def test_the_copy_passes_the_checks(lending: Path) -> None:
    run(".venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/lint-imports", lending)


def test_the_copy_passes_its_fast_tests_and_those_of_its_documents(lending: Path, python: Path) -> None:
    """Those of the documents start the server, and read the names of commands and settings."""
    tests = "tests/domain tests/application tests/test_docs.py tests/docs/test_pages.py"
    assert "passed" in run(f"{python} -m pytest -q {tests}", lending, ENGINES="memory")


def test_the_command_and_its_settings_are_renamed(lending: Path, python: Path, tmp_path: Path) -> None:
    command = f"{python} -m interfaces.cli.main"
    assert "LENDING_PORT" in run(f"{command} settings", tmp_path, LENDING_PORT="4711")
    assert json.loads(run(f"{command} openapi", tmp_path)) == json.loads((lending / "openapi.json").read_text())
    assert json.loads((lending / "openapi.json").read_text())["info"]["title"] == "Lending"
