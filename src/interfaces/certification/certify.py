"""Certifying an adapter: running the contract tests on its store, and what they show."""

import os
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from application.store import Capabilities, Store
from infrastructure.container import Misconfigured, Settings, open_store
from interfaces.certification.plugin import SUITE, check_empty

Progress = Callable[[str, int, int, int], None]
"""Is told after each test: the promise, how many tests have ended, how many there are, and how many have failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, was skipped or could not be run; `reason` is its message."""

    test: str
    reason: str


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


@dataclass(slots=True)
class Certificate:
    """The result of certifying an adapter."""

    adapter: str
    url: str
    capabilities: Capabilities
    promises: list[Promise]
    verified: dict[str, bool]
    """For each capability that was tested, whether all tests of its stated value have passed."""

    @property
    def is_granted(self) -> bool:
        """Whether every promise of this run is held, and every capability that was tested is as stated.

        What the run has not tested, for instance because of `only` of certify(), does not count.
        """
        return all(promise.is_held for promise in self.promises) and all(self.verified.values())

    def as_json(self) -> dict[str, object]:
        """Return the certificate as values that JSON can represent.

        Each capability has its stated value and whether that was verified: None if no test was about it.
        """
        return {
            "adapter": self.adapter,
            "url": self.url,
            "certified": self.is_granted,
            "capabilities": {
                name: {"stated": value, "verified": self.verified.get(name)}
                for name, value in asdict(self.capabilities).items()
            },
            "promises": [
                {"promise": promise.text, "held": promise.is_held}
                | {
                    "tests": promise.tests,
                    "failures": [asdict(failure) for failure in promise.failures],
                }
                for promise in self.promises
            ],
        }


class Results:
    """The pytest plugin that collects the results of a run.

    `promises` has a Promise for each file of tests, and `verified` says for each capability whether all its tests have
    passed. `errors` says why tests could not be run.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.promises: dict[Path, Promise] = {}
        self.verified: dict[str, bool] = {}
        self.errors: list[str] = []
        self.ended = self.total = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        """Count the tests of each module. Its promise is the first line of its docstring, or else its file name."""
        self.total = len(items)
        for item in items:
            promise = self.promises.setdefault(
                item.path, Promise((item.module.__doc__ or item.path.name).split("\n")[0])
            )
            promise.tests += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record each phase of a test that fails or is skipped; after the last phase of a test, report the progress.

        A capability with which the test is marked is verified only if all phases of all its tests have passed.
        """
        report = yield
        promise = self.promises[item.path]
        if not report.passed:
            promise.failures.append(Failure(report.nodeid, reason_of(report)))
        for marker in item.iter_markers("capability"):
            for name in marker.args:
                self.verified[name] = self.verified.get(name, True) and report.passed
        if report.when == "teardown":
            self.ended += 1
            failed = sum(len(one.failures) for one in self.promises.values())
            self.progress(promise.text, self.ended, self.total, failed)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add the last line of the error to `errors` if a module of tests cannot be imported."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Add the last line of an error of pytest itself, outside of the tests, to `errors`."""
        self.errors.append(str(excrepr).strip().splitlines()[-1])


def reason_of(report: pytest.TestReport) -> str:
    """Return the message of a failure, or `skipped: ` and the reason of a skipped test.

    A failure that Hypothesis has found includes the shortest program that shows it, but not Hypothesis' explanation.
    """
    if report.skipped:
        return f"skipped: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext}"
    crash = getattr(report.longrepr, "reprcrash", None)
    message: str = crash.message if crash else report.longreprtext
    return message.partition("\nExplanation:")[0]


async def prepare(settings: Settings) -> Capabilities:
    """Open the store, return the capabilities that its adapter states, and close it.

    Raise Unavailable if it cannot be opened. Raise Misconfigured if the adapter is not installed, or if the store has
    the current schema and any records. A store with another schema is not searched for records.
    """
    store: Store = open_store(settings)
    await store.open()
    try:
        if (await store.schema()).is_current:
            await check_empty(store, settings)
        return store.capabilities
    finally:
        await store.close()


def certify(
    settings: Settings, capabilities: Capabilities, progress: Progress, only: str = "", *, concurrency: bool = False
) -> Certificate:
    """Run the contract tests on the store that the settings name, or only those that `only` selects (pytest's -k).

    With `concurrency`, what many clients see is recorded for minutes, with several seeds, instead of for seconds.
    Failed tests are no error: the certificate lists them. The tests delete everything in the store; they fail, and
    delete nothing, if it has records at the beginning. `progress` is called after each test. Raise Misconfigured if no
    test was selected or the tests cannot be run, and KeyboardInterrupt at Ctrl+C. The variables of the environment that
    configure pytest and Hypothesis are changed and not restored.
    """
    results = Results(progress)
    # No configuration or plugin of the folder or environment in which this runs changes the result.
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with TemporaryDirectory(prefix="handover-certify-") as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        code = pytest.main(_arguments(settings, only, concurrency=concurrency), plugins=[results])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and not results.errors:
        raise Misconfigured(f"no test has a name that matches `--only {only}`; such names are test_items, test_keys")
    if results.errors or code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise Misconfigured(f"the contract tests cannot be run: {'; '.join(results.errors) or code}")
    return Certificate(
        adapter=settings.adapter,
        url=settings.masked_url,
        capabilities=capabilities,
        promises=list(results.promises.values()),
        verified=results.verified,
    )


def _arguments(settings: Settings, only: str, *, concurrency: bool) -> list[str]:
    """Return pytest's arguments. With them, no configuration or plugin of the current folder changes the result."""
    return [
        *("-c", os.devnull, f"--rootdir={SUITE}", f"--confcutdir={SUITE}", "--import-mode=importlib"),
        *("-p", "no:terminal", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"),
        *("-p", "_hypothesis_pytestplugin", "-p", "interfaces.certification.plugin"),
        *("-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=session", "-o", "asyncio_default_test_loop_scope=session"),
        *(["--concurrency"] if concurrency else []),
        *("--certify", settings.database_url, "--certify-adapter", settings.adapter, "-k", only, str(SUITE)),
    ]
