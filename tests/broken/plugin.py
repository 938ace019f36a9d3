"""For the pytest that test_broken_adapters.py starts: each adapter with a fault is an engine more."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from application.store import Store
from interfaces.certification import overlapping
from interfaces.certification.database import OpenStore
from tests.broken.faults import BROKEN_ADAPTERS, Spoil, noticing
from tests.support.engines import ENGINES, Engine, lmdb, lmdb_adapter, selected

if TYPE_CHECKING:
    from infrastructure.settings import Settings

overlapping.LIMIT = 5.0  # some faults make a unit of work hang, which takes this long to notice

outcomes: dict[str, dict[str, list[str]]] = {}


def spoilt(adapter: OpenStore, spoil: Spoil) -> OpenStore:
    def open_store(settings: "Settings") -> Store:
        store = adapter(settings)
        spoil(store)
        return store

    return open_store


ENGINES["lmdb"] = Engine(lmdb_adapter, lmdb)
for name, adapter in BROKEN_ADAPTERS.items():
    sound = ENGINES[adapter.engine]
    ENGINES[name] = Engine(spoilt(sound.adapter, adapter.fault.spoil), sound.running)


def name_of(function: pytest.Function) -> str:
    """As the faults name it."""
    return f"{function.path.name}::{function.originalname}"


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In place of all the engines: those with a fault that this test is to notice, and those without one."""
    if "engine" in metafunc.fixturenames:
        test = name_of(metafunc.definition)
        concerned = [engine for engine in selected() if test in noticing(engine)]
        metafunc.definition.add_marker(pytest.mark.parametrize("engine", concerned, indirect=True))


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    items[:] = [item for item in items if "engine" in item.fixturenames and engine_of(item) in ENGINES]


def engine_of(item: pytest.Function) -> str:
    return str(item.callspec.params["engine"])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    if "noticed" in outcomes.get(engine_of(item), {}).get(name_of(item), []):
        pytest.skip("one case in which this test notices the fault is enough")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" or (call.excinfo and not report.skipped):
        noticed = (
            call.when == "call"
            and call.excinfo
            and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception, TimeoutError))
        )
        outcome = "passed" if not call.excinfo else "noticed" if noticed else f"broke off: {call.excinfo.exconly()}"
        outcomes.setdefault(engine_of(item), {}).setdefault(name_of(item), []).append(outcome)
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ["BROKEN_OUTCOMES"]).write_text(json.dumps(outcomes))
