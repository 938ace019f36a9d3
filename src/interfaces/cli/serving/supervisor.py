"""The parent of several workers, which serve on one socket: it starts them, replaces them and stops them."""

import asyncio
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog

from infrastructure.container import Settings
from interfaces.cli.limits import LIMITS
from interfaces.cli.serving.server import DRAIN, FAILED_TO_START, STOP, STOPPED

log = structlog.get_logger()

RESTART_PAUSE = 1.0
"""Seconds before a worker that has ended is replaced."""


class Supervisor:
    """Runs as many worker processes as the settings say, which serve on one socket, until SIGTERM or SIGINT.

    A worker that ends is replaced, as soon as the system has what another one needs; but if one ends or cannot be
    started before any has served, all are stopped. At SIGTERM the workers drain, at SIGINT they stop without delay.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        on_started: Callable[[], None],
        on_ended: Callable[[int], None],
        metrics_lock: int,
    ) -> None:
        """`on_started` is called when all workers serve, `on_ended` with the process id of each worker that has ended.

        `settings` have a secret key. `metrics_lock` is the file descriptor of the lock of the metrics folder; workers
        keep it open, so that no other server removes the folder.
        """
        self.settings = settings
        self.count = settings.workers
        self.listener = listener
        self.metrics_lock = metrics_lock
        self.on_started = on_started
        self.on_ended = on_ended
        self.started_workers = 0
        self.signals: set[signal.Signals] = set()
        self.exit_code: int | None = None
        self.controls: set[socket.socket] = set()
        """One socket per running worker, through which it gets its orders."""

    async def run(self) -> int:
        """Keep all workers running until SIGTERM or SIGINT, and return the exit code when the last one has ended.

        It is STOPPED, or FAILED_TO_START if a worker has ended, or could not be started, before any has served.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.handle_signal, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, self.handle_signal, signal.SIGINT)
        await asyncio.gather(*(self.keep_worker_running() for _ in range(self.count)))
        return self.exit_code or STOPPED

    def handle_signal(self, number: signal.Signals) -> None:
        """Stop, on SIGTERM with the order DRAIN, on SIGINT with STOP; log the signal if it is the first of its kind."""
        if number not in self.signals:
            self.signals.add(number)
            log.info("draining", signal=number.name)
        self.stop(DRAIN if number == signal.SIGTERM else STOP, STOPPED)

    def stop(self, order: bytes, exit_code: int) -> None:
        """Send the order DRAIN or STOP to all workers, and replace them no more; do not wait until they end.

        run() returns the exit code of the first call. Later calls only send their order.
        """
        if self.exit_code is None:
            self.exit_code = exit_code
            self.listener.close()  # the port stays open until the last worker has closed it, too
        for control in self.controls:
            with suppress(OSError):  # that worker has just ended
                control.send(order)

    async def keep_worker_running(self) -> None:
        """Run a worker, and a new one a second after it has ended or could not be started, until the server stops.

        If the first one ends or cannot be started before any worker has served, stop the whole server with
        FAILED_TO_START: the next one would fail, too, and the log says why.
        """
        ended: int | None = None
        while self.exit_code is None:
            if ended is not None:
                how = {"exit_code": ended} if ended >= 0 else {"signal": signal.Signals(-ended).name}
                log.warning("a worker has ended; starting another", **how)
            ended = await self.run_worker()
            if self.exit_code is None and not self.started_workers:
                self.stop(STOP, FAILED_TO_START)
            if self.exit_code is None:
                await asyncio.sleep(RESTART_PAUSE)

    async def run_worker(self) -> int | None:
        """Start a worker, wait until it ends, and return its exit code; if a signal ended it, minus its number.

        If it cannot be started, log a line and return None.

        Call `on_started` if this is the worker number `count` that begins to serve, replaced workers included.
        """
        try:
            worker, ours = await self.start_worker()
        except (OSError, RuntimeError) as error:
            reason = LIMITS.get(error.errno or 0, error.strerror) if isinstance(error, OSError) else str(error)
            log.error("a worker cannot be started", reason=reason)
            return None
        with ours:
            try:
                has_started = bool(await asyncio.get_running_loop().sock_recv(ours, 1))
            except ConnectionResetError:  # it has ended with an order unread
                has_started = False
            self.started_workers += has_started
            if has_started and self.started_workers == self.count:
                self.on_started()
            exit_code = await worker.wait()
            self.on_ended(worker.pid)
            self.controls.remove(ours)
        return exit_code

    async def start_worker(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """Start a worker, and return its process and the socket through which it gets its orders.

        The socket is in `controls` from the beginning. Raise OSError, or RuntimeError without a thread that waits for
        the process, if the system refuses one more.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.controls.add(ours)  # an order that comes before the worker has started waits for it there
        with theirs:
            files = self.listener.fileno(), theirs.fileno()
            try:
                worker = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "interfaces.cli.serving.worker", *map(str, [*files, os.getpid()])),
                    pass_fds=[*files, self.metrics_lock],
                    stdin=asyncio.subprocess.PIPE,
                    process_group=0,  # Ctrl+C at the terminal goes to the parent only, which passes it on
                )
            except BaseException:
                self.controls.remove(ours)
                ours.close()
                raise
        if worker.stdin:
            worker.stdin.write(pickle.dumps(self.settings))  # not on the command line, which everybody can see
            worker.stdin.close()
        return worker, ours
