"""For the pytest that test_broken_adapters.py starts: each adapter with a fault is an engine more."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from application.ports import Store
from tests.broken.faults import BROKEN_ADAPTERS, Spoil, noticing
from tests.engines import ENGINES, Engine, OpenStore

if TYPE_CHECKING:
    from infrastructure.settings import Settings

outcomes: dict[str, dict[str, list[str]]] = {}


def spoilt(adapter: OpenStore, spoil: Spoil) -> OpenStore:
    def open_store(settings: "Settings") -> Store:
        store = adapter(settings)
        spoil(store)
        return store

    return open_store


for name, adapter in BROKEN_ADAPTERS.items():
    sound = ENGINES[adapter.engine]
    ENGINES[name] = Engine(spoilt(sound.adapter, adapter.fault.spoil), sound.running)


def place(item: pytest.Function) -> tuple[str, str]:
    """The engine, and the test as the faults name it."""
    return str(item.callspec.params["engine"]), f"{item.path.name}::{item.originalname}"


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    chosen = []
    for item in items:
        if "engine" in item.fixturenames:
            engine, test = place(item)
            if test in noticing(engine):
                chosen.append(item)
    items[:] = chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call" or call.excinfo:
        noticed = (
            call.when == "call"
            and call.excinfo
            and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception, TimeoutError))
        )
        engine, test = place(item)
        outcome = "passed" if not call.excinfo else "noticed" if noticed else f"broke off: {call.excinfo.exconly()}"
        outcomes.setdefault(engine, {}).setdefault(test, []).append(outcome)
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ["BROKEN_OUTCOMES"]).write_text(json.dumps(outcomes))
