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
    """Run it to its end. The folder is where it looks for `.env`, and puts what it is not told to put elsewhere.

    The process is forked from one that has imported what commands import, which would otherwise take most of the
    suite's time. `served` and tests/package/smoke.py start the command as people do.
    """
    given = environment(({"PORT": "0"} if "serve" in words else {}) | settings)  # 8000 may be taken on this machine
    with TemporaryDirectory(prefix="handover-command-") as name:
        streams = [Path(name, stream) for stream in ("in", "out", "err")]
        streams[0].write_bytes(typed.encode(errors="surrogateescape"))
        process = _FORKS.Process(target=_run_command, args=(words, folder, given, streams))
        await asyncio.to_thread(process.start)
        try:
            await asyncio.to_thread(process.join, SECONDS_TO_RUN)
            assert process.exitcode is not None, f"handover {' '.join(words)} has not ended: {streams[2].read_text()}"
        finally:
            process.kill()
        return Run(process.exitcode, streams[1].read_text(), streams[2].read_text())


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "alembic.command",
        "interfaces.cli.commands",
        "interfaces.cli.serving.startup",
        "infrastructure.persistence.beanie",
        "infrastructure.persistence.sqlalchemy",
    ]
)


def _run_command(words: Sequence[str], folder: Path, given: dict[str, str], streams: Sequence[Path]) -> None:
    """Make this process look like a new one, and run the command in it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(given)
    sys.path[:0] = given.get("PYTHONPATH", "").split(os.pathsep)
    for number, path in enumerate(streams):
        file = os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["handover", *words]
    main.run()


@dataclass(slots=True)
class Served:
    process: asyncio.subprocess.Process
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
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            *(*wrapper.split(), sys.executable, "-m", "interfaces.cli.main", "serve"),
            cwd=folder,
            env=environment({"PORT": "0", "PURGE_INTERVAL": "0"} | settings),
            stdout=file,
            stderr=file,
        )
    server = Served(process, log)
    try:
        async with asyncio.timeout(SECONDS_TO_START):
            while not (found := re.search(r"Handover is at +(\S+)\n", server.said)):
                assert process.returncode is None, server.said
                await asyncio.sleep(0.02)
        server.url = found[1]
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
