"""Noticing that the contract tests would get other fixtures than ours.

pytest has no public way to ask which fixtures a test will get, so this reads `Function._fixtureinfo` (decision 0018).
tests/cli/test_certify.py fails if pytest changes it.
"""

import inspect
from pathlib import Path

import pytest

UNIT_TESTS = "interfaces.testing.plugin"
"""The plugin of which that of the certification uses all fixtures but `store`."""


def check_fixtures(tests: list[pytest.Function], suite: Path, plugin: str) -> None:
    """Raise UsageError if another plugin or conftest.py replaces a fixture of `plugin` in a test of the suite's folder.

    Otherwise the test would pass on another store than the one to certify. The suite itself may replace fixtures.
    """
    for test in tests:
        if not test.path.is_relative_to(suite):
            continue
        for name, definitions in test._fixtureinfo.name2fixturedefs.items():
            functions = [inspect.unwrap(definition.func) for definition in definitions]
            modules = [function.__module__ for function in functions]
            expected = next((module for module in (plugin, UNIT_TESTS) if module in modules), None)
            if expected in {None, modules[-1]} or Path(inspect.getfile(functions[-1])).is_relative_to(suite):
                continue
            raise pytest.UsageError(
                f"the contract tests need the fixture `{name}` of {plugin}, but {modules[-1]} replaces it: in this run,"
                " load no conftest.py or plugin that has such a fixture"
            )
