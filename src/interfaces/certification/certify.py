"""Certifying an adapter: running the contract tests on its store, and what they show."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from tempfile import mkdtemp
from types import FrameType

import pytest

from application.errors import Unavailable
from application.store import Capabilities, Store
from infrastructure.container import Misconfigured, Settings, described, open_store
from interfaces.certification.completeness import check_complete, gaps, incomplete, plain_methods
from interfaces.certification.plugin import SUITE, check_empty, how_to_empty, records_in
from interfaces.certification.reasons import hint_at
from interfaces.certification.results import Progress, Promise, Results
from interfaces.certification.watchdog import Watchdog


@dataclass(slots=True)
class Certificate:
    """The result of certifying an adapter."""

    adapter: str
    url: str
    capabilities: Capabilities
    promises: list[Promise]
    verified: dict[str, bool]
    """For each capability that was tested, whether all tests of its stated value have passed."""
    is_complete: bool
    """Whether all tests were run, and not only some that were selected."""

    @property
    def is_granted(self) -> bool:
        """Whether every promise of this run is held, and every capability that was tested is as stated.

        What the run has not tested, for instance because of `only` of certify(), does not count.
        """
        return all(promise.is_held for promise in self.promises) and all(self.verified.values())

    def as_json(self) -> dict[str, object]:
        """Return the certificate as values that JSON can represent.

        `certified` is False if a promise or capability is not as it should be, and otherwise True if all tests were
        run, or None after a part of them. Each capability has its stated value and whether that was verified: None if
        no test was about it.
        """
        return {
            "adapter": self.adapter,
            "url": self.url,
            "certified": None if self.is_granted and not self.is_complete else self.is_granted,
            "complete": self.is_complete,
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


class NoSuchSelection(Exception):
    """The text that selects tests is not written as pytest's option -k demands. The message is one line."""


class Stopped(Exception):
    """A signal has ended the run. The message is one line: what was tested, and what is in the database now."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.number = number


class Certification:
    """One run of the contract tests on the store that the settings name."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.watchdog = Watchdog(progress.tell, self._give_up)
        self.results = Results(progress, self.watchdog)
        self._signal: signal.Signals | None = None
        self._folder = ""

    def run(self, only: str = "", *, concurrency: bool = False) -> Certificate:
        """Run all tests, or only those that `only` selects (pytest's -k).

        With `concurrency`, what many clients see is recorded for minutes, with several seeds, instead of for seconds.
        Failed tests are no error: the certificate lists them. The tests delete everything in the store.

        Raise Unavailable if the store cannot be opened. Raise Misconfigured if the adapter is not installed or not
        complete, if the store has any records or another schema than the needed one, if no test was selected, or if the
        tests cannot be run. Raise NoSuchSelection if `only` cannot be parsed.

        SIGINT and SIGTERM raise Stopped when the running test has been cancelled and the database was emptied. A second
        one ends the process at once; so does an adapter that blocks the event loop, with exit code 1. The variables of
        the environment that configure pytest and Hypothesis are changed and not restored.
        """
        self.watchdog.start()
        try:
            with self._interruptible():
                capabilities = self._prepared()
                if not self._signal:
                    self._run_tests(only, concurrency=concurrency)
                if self._signal:
                    raise Stopped(f"{self._how_far()}. {asyncio.run(self._content())}", self._signal)
        except asyncio.CancelledError:  # while it was being prepared
            assert self._signal
            raise Stopped(f"{self._how_far()}. Nothing was changed.", self._signal) from None
        finally:
            self.watchdog.stop()
            self.progress.stop()
        return Certificate(
            adapter=self.settings.adapter,
            url=self.settings.masked_url,
            capabilities=capabilities,
            promises=list(self.results.promises.values()),
            verified=self.results.verified,
            is_complete=not only,
        )

    def _prepared(self) -> Capabilities:
        """Return what _prepare() does; raise Misconfigured also if the adapter raises what its port does not allow."""
        try:
            return asyncio.run(self._prepare())
        except (Misconfigured, Unavailable):
            raise
        except Exception as error:
            hint = hint_at(error, self.results.plain)
            raise Misconfigured(
                f"the adapter {self.settings.adapter} fails before the first test: {described(error)}{hint}"
            ) from error

    async def _prepare(self) -> Capabilities:
        """Return the capabilities that the adapter states; raise what run() says. Nothing is changed."""
        store: Store = open_store(self.settings)
        self.watchdog.watch(type(store).__module__)
        if not callable(getattr(store, "open", None)):
            raise incomplete(self.settings.adapter, [*gaps(Store, store)])
        self.results.plain = [*plain_methods(Store, store)]
        await store.open()
        try:
            self.results.plain = await check_complete(store, self.settings.adapter)
            await check_empty(store, self.settings)
            return store.capabilities
        finally:
            if callable(getattr(store, "close", None)):
                await store.close()

    def _run_tests(self, only: str, *, concurrency: bool) -> None:
        """Run the tests with pytest; raise Misconfigured if there are none, or if they cannot be run."""
        # No configuration or plugin of the folder or environment in which this runs changes the result.
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            os.environ.pop(name, None)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = self._folder = mkdtemp(prefix="handover-certify-")
        try:
            code = pytest.main(_arguments(self.settings, only, concurrency=concurrency), plugins=[self.results])
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self.results.refused:
            raise NoSuchSelection(self.results.refused)
        if code == pytest.ExitCode.NO_TESTS_COLLECTED and not self.results.errors:
            raise Misconfigured(
                f"no test has a name that matches `--only {only}`; such names are test_items, test_keys"
            )
        expected = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        if self.results.errors or (code not in expected and not self._signal):
            raise Misconfigured(f"the contract tests cannot be run: {'; '.join(self.results.errors) or code}")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Within the block, SIGINT and SIGTERM interrupt the run."""
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        """Cancel the running test, so that the run ends soon; end the process if that was asked for before."""
        if self._signal:
            self._give_up(f"{self.watchdog.running} was not waited for")
        self._signal = signal.Signals(number)
        self.results.interrupt()

    def _give_up(self, reason: str) -> None:
        """Print the reason, how far the run has come and what to do, and end the process at once."""
        self.progress.stop()
        end = f"The database may not be empty: {how_to_empty(self.settings)}"
        if self._signal:
            self.progress.tell(f"handover: {self._how_far()}; {reason}. {end}")
        else:
            self.progress.tell(f"handover: {reason}")
            self.progress.tell(f"handover: {self._how_far()}. {end}")
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(128 + self._signal if self._signal else 1)

    def _how_far(self) -> str:
        """Return how many tests have ended, and how."""
        results = self.results
        verb = "interrupted" if self._signal else "stopped"
        if not results.ended:
            return f"{verb} before the end of the first test, so nothing is certified"
        failed = len(results.failed)
        return (
            f"{verb} after {results.ended} of {results.total} tests, of which {results.ended - failed} passed and"
            f" {failed} failed, so nothing is certified"
        )

    async def _content(self) -> str:
        """Return what is in the database now, and what to do about it."""
        self.watchdog.running = "looking at what is in the database"
        try:
            store = open_store(self.settings)
            self.watchdog.watch(type(store).__module__)
            await store.open()
            try:
                schema = await store.schema()
                found = await records_in(store) if schema.is_current else ""
            finally:
                await store.close()
        except Exception as error:
            return f"Whether the database is empty cannot be seen: {described(error)}"
        if found or not (schema.is_current or schema.found is None):
            return f"The database is not empty{found and ', ' + found}: {how_to_empty(self.settings)}"
        return "The database is empty."


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
