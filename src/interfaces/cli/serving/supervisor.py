"""Several processes that serve on one socket. They end with the process that started them, even if that is killed."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from interfaces.cli.serving.server import DRAIN, FAILED_TO_START, STOP, STOPPED

PAUSE = 1.0
"""Seconds before a worker that ended is replaced, so that one that cannot live does not burn the machine."""


class Workers:
    def __init__(self, count: int, listener: socket.socket, started: Callable[[], None], *, inherited: int) -> None:
        """`inherited` is the file descriptor of a lock that lasts as long as a worker has it."""
        self.count = count
        self.listener = listener
        self.inherited = inherited
        self.started = started
        self.have_started = 0
        self.exit_code: int | None = None
        self.lines: set[socket.socket] = set()
        """To each worker, for orders."""

    async def run(self) -> int:
        """Keep them all until a signal, of which they are told at once; return when the last has ended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end, DRAIN, STOPPED)
        loop.add_signal_handler(signal.SIGINT, self.end, STOP, STOPPED)
        await asyncio.gather(*(self.keep_one() for _ in range(self.count)))
        return self.exit_code or STOPPED

    def end(self, order: bytes, exit_code: int) -> None:
        if self.exit_code is None:
            self.exit_code = exit_code
            self.listener.close()  # the port stays open until the last worker has closed it as well
        for line in self.lines:
            with suppress(OSError):  # that worker has just ended
                line.send(order)

    async def keep_one(self) -> None:
        if not await self.one() and self.exit_code is None:
            self.end(STOP, FAILED_TO_START)  # and so it would the next time; what is wrong is in the log
        while self.exit_code is None:
            await asyncio.sleep(PAUSE)
            if self.exit_code is None:
                print("handover: a worker has ended; starting another", file=sys.stderr, flush=True)
                await self.one()

    async def one(self) -> bool:
        """Run one worker from its start to its end; return whether it began to serve."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                files = self.listener.fileno(), theirs.fileno()
                worker = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "interfaces.cli.serving.worker", *map(str, [*files, os.getpid()])),
                    pass_fds=[*files, self.inherited],
                    process_group=0,  # an interrupt at the terminal is for us, and we pass it on
                )
            self.lines.add(ours)
            has_started = bool(await asyncio.get_running_loop().sock_recv(ours, 1))
            self.have_started += has_started
            if has_started and self.have_started == self.count:
                self.started()
            await worker.wait()
            self.lines.remove(ours)
        return has_started
