"""The contract tests bite: an adapter with a fault fails those that are there to notice it; one without passes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broken.faults import BROKEN_ADAPTERS, noticing
from tests.support import engines

ROOT = Path(__file__).parents[2]

Outcomes = dict[str, dict[str, list[str]]]


SOUND = [engine for engine in ("memory", "sqlite") if engine in engines.selected()]
BROKEN = [name for name, adapter in BROKEN_ADAPTERS.items() if adapter.engine in SOUND]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of the same test functions as ever, in one run of their own."""
    written = tmp_path_factory.mktemp("broken") / "outcomes.json"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "tests.broken.plugin", "tests/contracts"],
        cwd=ROOT,
        env=os.environ
        | {
            "ENGINES": " ".join([*SOUND, *BROKEN]),
            "BROKEN_OUTCOMES": str(written),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    outcomes: Outcomes = json.loads(written.read_text())
    return outcomes


@pytest.mark.parametrize("adapter", SOUND)
def test_an_adapter_without_a_fault_passes(adapter: str, outcomes: Outcomes) -> None:
    assert outcomes[adapter].keys() == noticing(adapter)
    assert {outcome for seen in outcomes[adapter].values() for outcome in seen} == {"passed"}


@pytest.mark.parametrize(
    ("adapter", "test"), [(adapter, test) for adapter in BROKEN for test in sorted(noticing(adapter))]
)
def test_a_fault_is_noticed(adapter: str, test: str, outcomes: Outcomes) -> None:
    assert "noticed" in outcomes[adapter][test]
