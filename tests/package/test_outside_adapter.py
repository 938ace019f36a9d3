"""The LMDB adapter in `examples` is certified where only wheels are installed, and its planted faults are found."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.broken.faults import BROKEN_ADAPTERS, noticing
from tests.broken.run import Outcomes, outcomes_of
from tests.docs.blocks import snippets
from tests.docs.copies import copy_of_the_checkout
from tests.package.smoke import address_of
from tests.support.wheels import EXAMPLE, ROOT, install_wheels, variables

BROKEN = [name for name, adapter in BROKEN_ADAPTERS.items() if adapter.engine == "lmdb"]
SECONDS = 600
CERTIFY = ["certify", "--url", "lmdb:///empty.lmdb"]
"""As docs/adding-an-adapter.md has it."""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheels(tmp_path_factory.mktemp("wheels"), ROOT, EXAMPLE)


def test_the_adapter_is_certified(python: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [python, "-m", "interfaces.cli.main", *CERTIFY, "--json"],
        cwd=tmp_path,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    certificate = json.loads(run.stdout)
    assert [certificate[name] for name in ("adapter", "certified", "complete")] == ["lmdb", True, True]
    contracts = [*(ROOT / "tests" / "contracts").rglob("test_*.py")]
    assert len(certificate["promises"]) == len(contracts)
    assert all(capability["verified"] for capability in certificate["capabilities"].values())


def test_the_same_in_pytest(python: Path, tmp_path: Path) -> None:
    """The command in docs/adding-an-adapter.md, on a few of the tests."""
    text = (ROOT / "docs" / "adding-an-adapter.md").read_text()
    command = text[text.index("pytest -p interfaces.certification.plugin") :].partition("```")[0].replace("\\\n", " ")
    words: list[str | Path] = [
        python,
        "-m",
        *command.split(),
        "-k",
        "capabilities or purge",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(
        words, cwd=tmp_path, env=variables(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_nothing_of_the_checkout_is_on_the_path(python: Path, tmp_path: Path) -> None:
    code = (
        "import interfaces.certification.plugin as plugin, handover_lmdb; print(plugin.SUITE, handover_lmdb.__file__)"
    )
    printed = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=variables(), capture_output=True, text=True, check=True
    )
    assert [word for word in printed.stdout.split() if not word.startswith(str(python.parents[1]))] == []


@pytest.fixture(scope="session")
def outcomes(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(["lmdb", *BROKEN], tmp_path_factory.mktemp("broken"), str(python), variables())


def test_the_adapter_without_a_fault_passes(outcomes: Outcomes) -> None:
    assert outcomes["lmdb"].keys() == noticing("lmdb")
    assert {outcome for seen in outcomes["lmdb"].values() for outcome in seen} == {"passed"}


@pytest.mark.parametrize(
    ("adapter", "test"), [(adapter, test) for adapter in BROKEN for test in sorted(noticing(adapter))]
)
def test_a_fault_is_noticed(adapter: str, test: str, outcomes: Outcomes) -> None:
    assert "noticed" in outcomes[adapter][test]


def test_the_commands_of_its_readme(tmp_path: Path) -> None:
    """They install, certify and serve the example in a copy, without a package index: other packages are ours."""
    folder = copy_of_the_checkout(tmp_path) / EXAMPLE.relative_to(ROOT)
    [block] = snippets("sh", (folder / "README.md").read_text())
    make_environment, install, certify, serve = block.splitlines()
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    offline = variables(PATH=search, PIP_NO_DEPS="1", PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0", HANDOVER_PORT="0")
    assert certify == f".venv/bin/handover {' '.join(CERTIFY)}"  # which is run as a whole above

    def run(command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=offline, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    run(make_environment)
    [site_packages] = folder.glob(".venv/lib/*/site-packages")
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    run(install)
    run(f"{certify} --only attempts")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(["bash", "-c", f"exec env {serve}"], cwd=folder, env=offline, stdout=log, stderr=log)
    try:
        assert address_of(server, folder / "log").startswith("http://127.0.0.1:")
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()


def test_the_code_of_the_example_is_small() -> None:
    files = [EXAMPLE / "pyproject.toml", *(EXAMPLE / "src").rglob("*.py")]
    assert sum(len(file.read_text().splitlines()) for file in files) <= 500
