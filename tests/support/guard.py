"""Ends a server's processes; run as a script, starts a server and ends it when the parent process is gone.

The kernel's own parent death signal would not do: it is sent when the parent's starting *thread* ends, a paused process
does not act upon it, and the server's folder stays. Standard library alone, so that a guard starts quickly.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS_TO_END = 10


def family(pid: int) -> set[int]:
    """The process and its children; PostgreSQL has no grandchildren."""
    return {pid} | {child for child, parent in _parents().items() if parent == pid}


def alive(pids: set[int]) -> set[int]:
    return pids & _parents().keys()


def send(number: int, pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(pid: int, number: int) -> None:
    """Return when the process and its children are gone: until then a second server on their data would be refused."""
    send(signal.SIGSTOP, {pid})  # it starts no more children while they are counted
    processes = family(pid)
    send(number, processes if number == signal.SIGKILL else {pid})
    send(signal.SIGCONT, processes)
    deadline = time.monotonic() + SECONDS_TO_END
    while alive(processes):
        if time.monotonic() > deadline:
            send(signal.SIGKILL, processes)
        time.sleep(0.01)


def _parents() -> dict[int, int]:
    """Of every process that has not ended; nothing where there is no /proc, and there children end a moment late."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(stat.parent.name)] = int(parent)
    return parents


def _guard(parent: int, folder: str, last_signal: int, user: Mapping[str, Any], command: Sequence[str]) -> int:
    """Tell the server's pid and wait for its end; if the parent ends before, end the server and remove its folder."""
    server = subprocess.Popen(command, stdout=sys.stderr, cwd="/", **user)
    print(server.pid, flush=True)
    while True:
        try:
            code = server.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                end(server.pid, last_signal)
                shutil.rmtree(folder, ignore_errors=True)
        else:
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_guard(*json.loads(sys.argv[1])))
