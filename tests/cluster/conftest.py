"""Says in one line what is not installed."""

import pytest

from tests.cluster.programs import DEBIAN_PACKAGES, find


def pytest_configure() -> None:
    if missing := [package for program, package in DEBIAN_PACKAGES.items() if not find(program)]:
        raise pytest.UsageError(
            f"make test-cluster needs {', '.join(missing)}: on Debian and Ubuntu, apt-get install {' '.join(missing)}"
        )
