"""The servers that are compared, one process each, and what they use."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil

from tests.support.servers import free_port

SECRET = "for measurements on the loopback interface only"
SECONDS_TO_START = 180
SHOWN_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Server:
    process: psutil.Process
    port: int
    seconds_to_start: float
    """From the command to the first answer."""

    @property
    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    @property
    def peak(self) -> float:
        """Megabytes of memory, at the worst moment so far."""
        return (
            sum(int(SHOWN_PEAK.findall(Path(f"/proc/{one.pid}/status").read_text())[0]) for one in self.family) / 1000
        )

    @property
    def resident(self) -> float:
        """Megabytes of memory, now."""
        return float(sum(one.memory_info().rss for one in self.family) / 1e6)


def cpu_seconds(process: psutil.Process | None) -> float:
    """Of the process and its children, those included that have ended."""
    if process is None:
        return 0.0
    seconds = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has just ended, and is in its parent's sum
            seconds += sum(one.cpu_times()[:4])
    return seconds


Start = Callable[[str, Path, int], subprocess.Popen[bytes]]
"""A server on the store of this address, with this log, on this port."""


def handover(url: str, log: Path, port: int, **settings: str) -> subprocess.Popen[bytes]:
    """As in production, with all its defaults, the line in the log for each request among them."""
    ours = {"DATABASE_URL": url, "PORT": str(port), "ENVIRONMENT": "production", "SECRET_KEY": SECRET} | settings
    return _start(
        [sys.executable, "-m", "interfaces.cli.main", "serve"], log, {f"HANDOVER_{k}": v for k, v in ours.items()}
    )


def handover_on_granian(url: str, log: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {"HANDOVER_DATABASE_URL": url, "HANDOVER_SECRET_KEY": SECRET, "HANDOVER_ENVIRONMENT": "production"}
    options = ["--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws", "--log-level", "warning"]
    application = "bench.peers.handover_app:app"
    return _start([sys.executable, "-m", "granian", *options, "--port", str(port), application], log, settings)


def peer(name: str, *options: str) -> Start:
    """As guides serve it: uvicorn, with a line in the log for each request unless it is told otherwise."""

    def start(url: str, log: Path, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "uvicorn", f"bench.peers.{name}:app", "--port", str(port), *options]
        return _start(command, log, {"BENCH_URL": url})

    return start


def _start(command: list[str], log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HANDOVER_")}
    with log.open("ab") as file:
        return subprocess.Popen(command, env=kept | settings, stdout=file, stderr=file)


@contextmanager
def served(start: Start, url: str, log: Path) -> Iterator[Server]:
    port = free_port()
    began = time.perf_counter()
    process = start(url, log, port)
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - began > SECONDS_TO_START:
                raise RuntimeError(f"a server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield Server(psutil.Process(process.pid), port, time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()
