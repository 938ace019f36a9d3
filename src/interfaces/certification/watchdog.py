"""Ending a run of the contract tests in which the adapter blocks the event loop or waits without an end."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

PLUGIN = "handover watchdog"
"""The name under which pytest knows the watchdog."""

SECONDS_BLOCKED = 20
"""How long the event loop may be blocked. Far longer than any call of an adapter should take."""
SECONDS_BLOCKED_UNTIL_MENTIONED = 2
SECONDS_UNTIL_MENTIONED = 30
SECONDS_PER_TEST = 900
"""How long a test may take. On a local engine the slowest takes two seconds."""
SECONDS_TO_RECORD = 7200
"""The same with the option --concurrency."""
SECONDS_TO_STOP = 10
"""How long the test that is interrupted, and what cleans up behind it, may take."""

READ_ON = (
    'read on at `Begin` in application/ports.py, and under "The most frequent mistakes" in docs/adding-an-adapter.md'
)


class Watchdog:
    """A thread that notices that the event loop is blocked, or that a test does not end. It is a pytest plugin, too.

    It calls `give_up` with one line, in the thread, and then ends itself. `give_up` should end the process, because
    nothing else can end what blocks the event loop. `tell` is called with one line about a test that takes long or
    blocks the event loop for some seconds. Code in C that does not release Python's global lock stops this thread, too.
    """

    def __init__(self, tell: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        self.tell = tell
        self.give_up = give_up
        self.running = "the first calls of the adapter"
        """What is running now."""
        self.interrupted = False
        self.package = ""
        """The name of the adapter's topmost package, once it is known."""
        self._mentioned: set[str] = set()
        """The lines of code that have been told to block the event loop."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds = 0
        self._limit = SECONDS_PER_TEST
        self._answered = True
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to watch. What has no event loop yet is limited in time only."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer. It cannot be started again."""
        self._stopped.set()

    def watch(self, package: str) -> None:
        """Watch the running event loop from now on. `package` is that of the adapter, whose code is named."""
        self._loop, self.package, self._answered = asyncio.get_running_loop(), package.partition(".")[0], True

    def interrupt(self) -> None:
        """Cancel what runs on the event loop, and give up if the run has not ended soon afterwards."""
        self.interrupted, self._seconds = True, 0
        if self._loop:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._cancel_all)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Note that this test begins."""
        self.running, self._seconds = item.nodeid, 0
        self._limit = SECONDS_TO_RECORD if item.config.getoption("concurrency", default=False) else SECONDS_PER_TEST

    def pytest_enter_pdb(self) -> None:
        """Watch no longer, because a debugger blocks the event loop."""
        self.stop()

    def _watch(self) -> None:
        """Look once a second. Seconds are counted here: none pass while the whole process is suspended."""
        blocked = 0
        while not self._stopped.wait(1):
            self._seconds += 1
            blocked = blocked + 1 if self._is_blocked() else 0
            if reason := self._reason_to_give_up(blocked):
                self.give_up(reason)
                return
            if blocked == SECONDS_BLOCKED_UNTIL_MENTIONED and not self.interrupted:
                self._mention_place()
            if self._seconds == SECONDS_UNTIL_MENTIONED and not blocked:
                self.tell(f"{self.running} has been running for {self._seconds} s, and is not blocked")

    def _reason_to_give_up(self, blocked: int) -> str:
        """Return why to give up after so many seconds in which the event loop was blocked, or an empty text."""
        if self.interrupted:
            return f"{self.running} could not be stopped" if blocked > 1 or self._seconds > SECONDS_TO_STOP else ""
        if blocked >= SECONDS_BLOCKED:
            place = self._place()
            return f"{self._blocked_for(blocked, place)}, so that no other task can run: wait with `await`; {READ_ON}"
        if self._seconds >= self._limit:
            return (
                f"{self.running} has not ended after {self._seconds} s, although the event loop is not blocked: what it"
                f" awaits does not happen, such as the release of a lock; {READ_ON}"
            )
        return ""

    def _mention_place(self) -> None:
        """Tell where the event loop is blocked, unless that line of the adapter was told before."""
        place = self._place()
        if not place or place not in self._mentioned:
            self._mentioned.add(place)
            self.tell(f"{self._blocked_for(SECONDS_BLOCKED_UNTIL_MENTIONED, place)}: wait with `await`")

    def _blocked_for(self, seconds: int, place: str) -> str:
        """Return that the event loop has been blocked for so long at a place in the adapter."""
        return f"{self.running}: the event loop has been blocked for {seconds} s{place}"

    def _is_blocked(self) -> bool:
        """Whether the event loop runs but has not run what was asked of it a second ago; ask again if it has."""
        if not self._answered:
            return self._loop is not None and self._loop.is_running()
        if self._loop:
            self._answered = False
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed
                self._loop, self._answered = None, True
        return False

    def _answer(self) -> None:
        self._answered = True

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _place(self) -> str:
        """Return the innermost line of the adapter that the main thread is at, as ` in write (records.py, line 7)`."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame:
            if str(frame.f_globals.get("__name__")).partition(".")[0] == self.package:
                return f" in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})"
            frame = frame.f_back
        return ""


def watchdog_of_pytest() -> Watchdog:
    """Return a watchdog that writes to the stderr that this process has now, before pytest captures it.

    It ends the process with exit code 1.
    """
    stderr = os.dup(2)

    def tell(line: str) -> None:
        os.write(stderr, f"\nhandover: {line}\n".encode())

    def give_up(reason: str) -> None:
        tell(reason)
        os._exit(1)

    return Watchdog(tell, give_up)
