"""The contract tests bite: an adapter with a fault fails those that are there to notice it; one without passes them."""

import os
import sys

import pytest

from tests.broken.faults import BROKEN_ADAPTERS, noticing
from tests.broken.run import Outcomes, outcomes_of
from tests.support import engines

ENGINES = ("memory", "sqlite", "postgresql", "postgresql-optimistic")
SOUND = [engine for engine in ENGINES if engine in engines.selected()]
BROKEN = [name for name, adapter in BROKEN_ADAPTERS.items() if adapter.engine in SOUND]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of the same test functions as ever, in one run of their own."""
    folder, path = tmp_path_factory.mktemp("broken"), {"PYTHONPATH": os.pathsep.join(sys.path)}
    return outcomes_of([*SOUND, *BROKEN], folder, sys.executable, os.environ | path)


@pytest.mark.parametrize("adapter", SOUND)
def test_an_adapter_without_a_fault_passes(adapter: str, outcomes: Outcomes) -> None:
    assert outcomes[adapter].keys() == noticing(adapter)
    assert {outcome for seen in outcomes[adapter].values() for outcome in seen} == {"passed"}


@pytest.mark.parametrize(
    ("adapter", "test"), [(adapter, test) for adapter in BROKEN for test in sorted(noticing(adapter))]
)
def test_a_fault_is_noticed(adapter: str, test: str, outcomes: Outcomes) -> None:
    assert "noticed" in outcomes[adapter][test]
