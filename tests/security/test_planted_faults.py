"""The tests of who gets in bite: with a fault planted, those fail that are there to notice it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.faults import FAULTS, noticing

ROOT = Path(__file__).parents[2]

Outcomes = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of the same test functions as ever, in one run of their own, in memory."""
    written = tmp_path_factory.mktemp("planted") / "outcomes.json"
    files = sorted({test.partition("::")[0] for test in noticing(None)})
    found = [str(path) for folder in ("http", "security") for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "tests.security.plugin"]
        + [path for path in found if Path(path).name in files],
        cwd=ROOT,
        env=os.environ
        | {"ENGINES": "memory", "PLANTED_OUTCOMES": str(written), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    outcomes: Outcomes = json.loads(written.read_text())
    return outcomes


def test_without_a_fault_all_pass(outcomes: Outcomes) -> None:
    assert outcomes["none"].keys() == noticing(None)
    assert {outcome for seen in outcomes["none"].values() for outcome in seen} == {"passed"}


@pytest.mark.parametrize(("fault", "test"), [(fault, test) for fault in FAULTS for test in FAULTS[fault].noticed_by])
def test_a_fault_is_noticed(fault: str, test: str, outcomes: Outcomes) -> None:
    assert "noticed" in outcomes[fault][test]
