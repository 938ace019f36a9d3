"""Collecting the results of a run of the contract tests, and showing how it goes on."""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Protocol

import pytest

from interfaces.certification.reasons import first_sentence, reason_of
from interfaces.certification.watchdog import PLUGIN, Watchdog


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, was skipped or could not be run; `reason` is its message."""

    test: str
    about: str
    """The first sentence of its docstring; empty if it has none."""
    reason: str

    @property
    def in_short(self) -> str:
        """The first line of the reason, shortened."""
        return shorten(self.reason.partition("\n")[0], 300, placeholder=" …")


@dataclass(slots=True)
class Promise:
    """Something that all adapters promise, the number of its tests, and those that failed or were skipped."""

    text: str
    tests: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def is_held(self) -> bool:
        """Whether there are tests of the promise, and none has failed or was skipped."""
        return self.tests > 0 and not self.failures


class Progress(Protocol):
    """Shows how a run goes on. All methods may be called in any thread, and while pytest captures what is printed."""

    def update(self, promise: Promise, ended: int, total: int, failed: int) -> None:
        """Show that a test of the promise begins, how many tests have ended, of how many, and how many have failed."""
        ...

    def tell(self, line: str) -> None:
        """Show a line, which stays."""
        ...

    def stop(self) -> None:
        """Show nothing any more but lines. It may be called several times."""
        ...


class Results:
    """The pytest plugin that collects the results of a run.

    `promises` has a Promise for each file of tests, and `verified` says for each capability whether all its tests have
    passed. `errors` says why tests could not be run. What happens after interrupt() is not recorded.
    """

    def __init__(self, progress: Progress, watchdog: Watchdog) -> None:
        self.progress = progress
        self.watchdog = watchdog
        self.promises: dict[Path, Promise] = {}
        self.verified: dict[str, bool] = {}
        self.errors: list[str] = []
        self.refused = ""
        """Why pytest does not accept its arguments."""
        self.plain: list[str] = []
        """The plain_methods() of the adapter, once they are known."""
        self.failed: set[str] = set()
        """The tests that have failed."""
        self.ended = self.total = 0
        self._session: pytest.Session | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Cancel the test that is running, and run no other one."""
        self._interrupted = True
        if self._session:
            self._session.shouldstop = "interrupted"
        self.watchdog.interrupt()

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Let the run be watched by our watchdog."""
        config.pluginmanager.register(self.watchdog, PLUGIN)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Note the session, to be able to stop it; that may have been asked for already."""
        self._session = session
        if self._interrupted:
            self.interrupt()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> Generator[None]:
        """Count the selected tests of each module. Its promise is the first line of its docstring, or its file name.

        End the run if pytest refuses the option -k, and note that in `refused`.
        """
        try:
            yield
        except pytest.UsageError as error:  # which pytest would print
            self.refused = str(error)
            pytest.exit(self.refused)
        self.total = len(items)
        for item in items:
            promise = self.promises.setdefault(
                item.path, Promise((item.module.__doc__ or item.path.name).split("\n")[0])
            )
            promise.tests += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> None:
        """Report, before each test, how many tests have ended and how many of them have failed."""
        self.progress.update(self.promises[item.path], self.ended, self.total, len(self.failed))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record and tell each phase of a test that fails or is skipped.

        A capability with which the test is marked is verified only if all phases of all its tests have passed.
        """
        report = yield
        if self._interrupted:
            return report
        if not report.passed:
            error = call.excinfo.value if call.excinfo else None
            reason = reason_of(report, error, self.watchdog.package, self.plain)
            failure = Failure(report.nodeid, first_sentence(item.function), reason)
            self.promises[item.path].failures.append(failure)
            self.failed.add(report.nodeid)
            self.progress.tell(f"FAILED {failure.test}: {failure.in_short}")
        for marker in item.iter_markers("capability"):
            for name in marker.args:
                self.verified[name] = self.verified.get(name, True) and report.passed
        self.ended += report.when == "teardown"
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add the last line of the error to `errors` if a module of tests cannot be imported."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Add the reason to `errors` if the run was ended by pytest.exit()."""
        if isinstance(excinfo.value, pytest.exit.Exception):
            self.errors.append(str(excinfo.value))

    def pytest_internalerror(self, excrepr: object) -> None:
        """Add the last line of an error of pytest itself, outside of the tests, to `errors`."""
        self.errors.append(str(excrepr).strip().splitlines()[-1])
