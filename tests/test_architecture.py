"""Each import rule holds, and each is seen to bite: a forbidden import, planted in a copy of the code, is found."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"


def lint_imports(src: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(src), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_code_keeps_every_rule() -> None:
    result = lint_imports(SRC)
    assert result.returncode == 0, result.stdout


DOMAIN = "The domain imports the standard library alone"
APPLICATION = "The application imports the standard library and the domain alone"
MEMORY = "The in-memory adapter needs the standard library alone"
INWARDS = "Imports point inwards"
CONTAINER = "The interfaces see of the infrastructure the container alone"
INTERFACES = "Nobody imports the interfaces"
ADAPTERS = "Adapters do not import one another"
IN_APPLICATION = "The groups of the application point downwards"
IN_USE_CASES = "The use cases point downwards"
IN_SQLALCHEMY = "The groups of the SQLAlchemy adapter point downwards"
IN_SQLMODEL = "The groups of the SQLModel adapter point downwards"
IN_BEANIE = "The groups of the Beanie adapter point downwards"
IN_INTERFACES = "The groups of the interfaces point downwards"
IN_HTTP = "The groups of the HTTP interface point downwards"
IN_CLI = "The groups of the command line point downwards"


@pytest.mark.parametrize(
    ("rule", "package", "line"),
    [
        (DOMAIN, "domain", "import pydantic"),
        (DOMAIN, "domain", "import application"),
        (DOMAIN, "domain", "def later() -> None:\n    import unheard_of"),
        (APPLICATION, "application", "from sqlalchemy.orm import Session"),
        (APPLICATION, "application", "import infrastructure.container"),
        (MEMORY, "infrastructure.persistence.memory", "import uuid_utils"),
        (MEMORY, "infrastructure.persistence.memory", "import infrastructure.settings"),
        (INWARDS, "domain", "import application"),
        (INWARDS, "application", "import infrastructure"),
        (INWARDS, "infrastructure", "import interfaces"),
        (CONTAINER, "interfaces.http", "import infrastructure.settings"),
        (CONTAINER, "interfaces.cli", "from infrastructure.persistence import memory"),
        (INTERFACES, "infrastructure", "import interfaces.http"),
        (ADAPTERS, "infrastructure.persistence.sqlalchemy", "import infrastructure.persistence.memory"),
        (ADAPTERS, "infrastructure.persistence.sqlalchemy", "import infrastructure.persistence.sqlmodel"),
        (ADAPTERS, "infrastructure.persistence.sqlmodel.stream", "import infrastructure.persistence.sqlalchemy.rows"),
        (ADAPTERS, "infrastructure.persistence.sqlmodel", "import infrastructure.persistence.beanie"),
        (ADAPTERS, "infrastructure.persistence.memory", "import infrastructure.persistence.beanie"),
        (ADAPTERS, "infrastructure.persistence.beanie", "import infrastructure.persistence.sqlalchemy"),
        (IN_APPLICATION, "application.ports", "import application.transact"),
        (IN_USE_CASES, "application.use_cases.items", "import application.use_cases.tasks"),
        (IN_SQLALCHEMY, "infrastructure.persistence.sqlalchemy.engines", "from .. import reading"),
        (IN_SQLALCHEMY, "infrastructure.persistence.sqlalchemy.reading", "from .. import writing"),
        (IN_SQLALCHEMY, "infrastructure.persistence.sqlalchemy.schema", "from . import operations"),
        (IN_SQLMODEL, "infrastructure.persistence.sqlmodel.reading", "from .. import stream"),
        (IN_SQLMODEL, "infrastructure.persistence.sqlmodel.rows", "from . import orm_sessions"),
        (IN_BEANIE, "infrastructure.persistence.beanie.connection", "from . import store"),
        (IN_INTERFACES, "interfaces.http", "import interfaces.cli"),
        (IN_HTTP, "interfaces.http.responses", "import interfaces.http.validation"),
        (IN_HTTP, "interfaces.http.routing", "import interfaces.http.routes"),
        (IN_HTTP, "interfaces.http.middleware", "import interfaces.http.paging"),
        (IN_CLI, "interfaces.cli.serving", "import interfaces.cli.commands"),
    ],
)
def test_a_forbidden_import_is_found(rule: str, package: str, line: str, tmp_path: Path) -> None:
    src = shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (module := as_package(src, package)).write_text(f"{module.read_text()}\n{line}\n")

    result = lint_imports(src)

    assert result.returncode == 1, result.stdout
    assert f"{rule} BROKEN" in result.stdout


def as_package(src: Path, name: str) -> Path:
    """Where to write into the package; an adapter may be one module too."""
    folder = src.joinpath(*name.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


# What is left when every third-party package but pytest and its asyncio plugin is out of reach.


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The start of a command that runs Python with the standard library, pytest and pytest-asyncio alone."""
    packages = tmp_path_factory.mktemp("packages")
    for name in with_requirements({"pytest", "pytest-asyncio"}):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            if top != "__pycache__" and not (packages / top).exists():
                (packages / top).symlink_to(str(found.locate_file(top)))
    # -S leaves site-packages out, -I the user's own and whatever PYTHONPATH names; -B writes nothing beside the code.
    start = f"import sys; sys.path.append({str(packages)!r}); "
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", start]


def with_requirements(names: set[str]) -> set[str]:
    wanted = {
        requirement.name
        for name in names
        for requirement in map(Requirement, distribution(name).requires or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    return names if wanted <= names else with_requirements(names | wanted)


def run(command: list[str], code: str) -> subprocess.CompletedProcess[str]:
    *start, prelude = command
    return subprocess.run(
        [*start, prelude + code],
        cwd=ROOT,
        env={**os.environ, "ENGINES": "memory"},
        capture_output=True,
        text=True,
        check=False,
    )


def run_tests(command: list[str], *folders: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["-p", "no:cacheprovider", f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}", *map(str, folders)]
    return run(command, f"import pytest; sys.exit(pytest.main({arguments!r}))")


@pytest.mark.parametrize("folder", ["domain", "application"])
def test_the_core_needs_no_third_party_package(folder: str, bare: list[str]) -> None:
    result = run_tests(bare, ROOT / "tests" / folder)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["sqlalchemy", "sqlmodel", "pydantic", "fastapi", "hypothesis", "beanie"])
def test_the_bare_interpreter_has_no_third_party_package(name: str, bare: list[str]) -> None:
    assert find_spec(name) is not None, "not installed here either, so that its absence there proves nothing"
    result = run(bare, f"import {name}")
    assert f"ModuleNotFoundError: No module named '{name}'" in result.stderr


def test_the_bare_interpreter_fails_a_test_that_imports_a_third_party_package(bare: list[str], tmp_path: Path) -> None:
    test = tmp_path / "test_planted.py"
    test.write_text("async def test_it() -> None:\n    import pydantic\n")
    failed = run_tests(bare, test)
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    assert "No module named 'pydantic'" in failed.stdout

    test.write_text("async def test_it() -> None:\n    import domain, application\n")
    passed = run_tests(bare, test)
    assert passed.returncode == 0, passed.stdout + passed.stderr


MOST_MODULES = {"src": 10, "bench": 15, "tests": 15}


@pytest.mark.parametrize("top", MOST_MODULES)
def test_no_folder_is_crowded(top: str) -> None:
    """A reader sees from a folder's names what belongs together. In tests, a module is found by what it tests."""
    crowded = {
        str(folder.relative_to(ROOT)): len(modules)
        for folder in [ROOT / top, *(ROOT / top).rglob("*/")]
        if len(modules := [file for file in folder.glob("*.py") if file.name != "__init__.py"]) > MOST_MODULES[top]
    }
    assert not crowded
