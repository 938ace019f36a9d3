"""Running the contract tests on broken adapters."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Outcomes = dict[str, dict[str, list[str]]]
"""For each adapter and contract test, how its cases ended."""


def outcomes_of(engines: list[str], folder: Path, python: str, variables: dict[str, str]) -> Outcomes:
    """Run the contract tests that are to notice a fault, in one process of their own, on these engines."""
    written = folder / "outcomes.json"
    run = subprocess.run(
        [python, "-m", "pytest", "-q", "--tb=no", "-p", "tests.broken.plugin", "tests/contracts"],
        cwd=ROOT,
        env=variables | {"ENGINES": " ".join(engines), "BROKEN_OUTCOMES": str(written)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    outcomes: Outcomes = json.loads(written.read_text())
    return outcomes
