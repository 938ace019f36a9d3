"""The command `handover` as a process of its own, as people run it."""

import asyncio
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from interfaces.cli import main

SECONDS_TO_START = 120
SECONDS_TO_RUN = 120
STARTED = re.compile(r'Handover is at +(\S+)\n|"url":"(\S+?)".*"event":"started"')
"""What a server says once it serves: its address, for people or in a JSON log."""


def environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's, with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HANDOVER_")}
    return kept | {f"HANDOVER_{name}": value for name, value in settings.items()}


@dataclass(frozen=True, slots=True)
class Run:
    exit_code: int
    out: str
    err: str


async def handover(*words: str, folder: Path, typed: str = "", **settings: str) -> Run:
    """Run it to its end. The folder is where it looks for `.env`, and puts what it is not told to put elsewhere."""
    given = environment(({"PORT": "0"} if "serve" in words else {}) | settings)  # 8000 may be taken on this machine
    with TemporaryDirectory(prefix="handover-command-") as name:
        typed_in, out, err = (Path(name, stream) for stream in ("in", "out", "err"))
        typed_in.write_bytes(typed.encode(errors="surrogateescape"))
        process = await Forked.start(words, folder, given, typed_in, out, err)
        try:
            async with asyncio.timeout(SECONDS_TO_RUN):
                exit_code = await process.wait()
        finally:
            process.kill()
        return Run(exit_code, out.read_text(), err.read_text())


class Forked:
    """The command as a process that is forked from one which has imported all that commands import.

    That would otherwise take most of the suite's time. It behaves as asyncio.subprocess.Process does. With a wrapper of
    `served`, and in tests/package/smoke.py, the command is started as people do.
    """

    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(
        [
            "alembic.command",
            "interfaces.cli.commands",
            "interfaces.cli.serving.startup",
            "interfaces.cli.serving.worker",
            "infrastructure.persistence.beanie",
            "infrastructure.persistence.sqlalchemy",
            "tests.faults.crash_points.processes",
        ]
    )

    def __init__(self, *arguments: object) -> None:
        self._process = self.forks.Process(target=_run_command, args=arguments)

    @classmethod
    async def start(cls, words: Sequence[str], folder: Path, given: dict[str, str], *streams: Path) -> "Forked":
        """`streams` are the files of stdin, stdout and stderr."""
        forked = cls(words, folder, given, streams)
        await asyncio.to_thread(forked._process.start)
        return forked

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        while (exit_code := self.returncode) is None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        return exit_code


def _run_command(words: Sequence[str], folder: Path, given: dict[str, str], streams: Sequence[Path]) -> None:
    """Make this process look like a new one, and run the command in it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(given)
    sys.path[:0] = given.get("PYTHONPATH", "").split(os.pathsep)
    for number, path in enumerate(streams):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["handover", *words]
    main.run()


@dataclass(slots=True)
class Served:
    process: Forked | asyncio.subprocess.Process
    log: Path
    url: str = ""

    @property
    def said(self) -> str:
        """All that it has written so far."""
        return self.log.read_text()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def wait(self) -> int:
        async with asyncio.timeout(SECONDS_TO_RUN):
            return await self.process.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.wait()

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=30)


@asynccontextmanager
async def served(folder: Path, *, wrapper: str = "", **settings: str) -> AsyncIterator[Served]:
    """A server that is ready, on a free port unless told otherwise; it is killed if it has not ended at the end.

    It does not purge in the background unless told to, which it would do at a random time.

    `wrapper` is the beginning of a command line that starts what follows, such as `prlimit --nofile=256:1024`.
    """
    log = folder / "log"
    given = environment({"PORT": "0", "PURGE_INTERVAL": "0"} | settings)
    process: Forked | asyncio.subprocess.Process
    if wrapper:
        with log.open("w") as file:
            command = [*wrapper.split(), sys.executable, "-m", "interfaces.cli.main", "serve"]
            process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=given, stdout=file, stderr=file)
    else:
        log.write_text("")
        process = await Forked.start(["serve"], folder, given, Path(os.devnull), log, log)
    server = Served(process, log)
    try:
        async with asyncio.timeout(SECONDS_TO_START):
            while not (found := STARTED.search(server.said)):
                assert process.returncode is None, server.said
                await asyncio.sleep(0.02)
        server.url = found[1] or found[2]
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
