"""For the pytest that test_planted_faults.py starts: each test runs once without a fault, and once with each of its."""

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.security.faults import FAULTS, noticing

NONE = "none"
outcomes: dict[str, dict[str, list[str]]] = {}


def name_of(function: pytest.Function) -> str:
    """As the faults name it."""
    return f"{function.path.name}::{function.originalname}"


def planted_in(item: pytest.Function) -> str:
    return str(item.callspec.params["planted"])


@pytest.fixture(autouse=True)
def planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != NONE:
        FAULTS[request.param].plant(monkeypatch)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    test = name_of(metafunc.definition)
    names = [name for name in FAULTS if test in noticing(name)]
    metafunc.parametrize("planted", [NONE, *names] if names else [], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    items[:] = [item for item in items if name_of(item) in noticing(None)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" or call.excinfo:
        noticed = call.when == "call" and call.excinfo and call.excinfo.errisinstance(AssertionError)
        outcome = "passed" if not call.excinfo else "noticed" if noticed else f"broke off: {call.excinfo.exconly()}"
        outcomes.setdefault(planted_in(item), {}).setdefault(name_of(item), []).append(outcome)
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ["PLANTED_OUTCOMES"]).write_text(json.dumps(outcomes))
