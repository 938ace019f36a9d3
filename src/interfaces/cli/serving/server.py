"""One process that serves, and how it stops: uvicorn, but for what an orchestrator expects of a stop.

uvicorn by itself closes the port at once, drops what idle connections had just sent, and raises the signal again. Here
readiness fails first, everything is served for a while longer, and a stop that was asked for is a success.
"""

import asyncio
import gc
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from infrastructure.container import Settings, build, load_settings
from interfaces.cli.serving.protocol import BoundedProtocol
from interfaces.http.app import create_app

STOPPED, FAILED_TO_START = 0, 3
DRAIN, STOP = b"d", b"s"
"""What the parent of several workers tells them."""

PATIENCE = 25.0
"""Seconds from the signal until requests that still have not ended are cut off: orchestrators kill after 30."""
INTERRUPTED_PATIENCE = 3.0
LAST_CALL = 0.2
"""Seconds for requests on their way over idle connections when the port closes."""
CLOSE = (b"connection", b"close")

RESERVED_FILES = 64
"""File descriptors that connections of clients leave for everything else but the store."""
FILES_PER_SQLITE_CONNECTION = 4
"""A connection of SQLite has the database, its log and its index open; those of other stores have one socket."""
TICKS_PER_SECOND = 10
"""How often uvicorn calls on_tick()."""


def serve(listener: socket.socket, *, parent: socket.socket | None = None, started: Callable[[], None]) -> int:
    """Serve on a socket that listens already, with settings from the environment, until it is told to end."""
    settings = load_settings()
    BoundedProtocol.most_connections = most_connections(settings)
    app = create_app(build(settings))
    try:
        Server(app, settings, parent, started).run([listener])
    except SystemExit:  # uvicorn's way to say that the application did not start; the log says why
        return FAILED_TO_START
    return STOPPED


def most_connections(settings: Settings) -> int:
    """Raise the process's limit of open files as far as it goes; return how many connections of clients it allows.

    However many connections to the store are set, half of the files are for clients.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return BoundedProtocol.most_connections
    files = FILES_PER_SQLITE_CONNECTION if settings.scheme == "sqlite" else 1
    of_the_store = files * (settings.pool_size + settings.pool_overflow)
    return max(hard - RESERVED_FILES - of_the_store, hard // 2)


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it stops and closes connections that are late with their heads."""

    def __init__(
        self, app: FastAPI, settings: Settings, parent: socket.socket | None, started: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="uvloop",
                http=BoundedProtocol,
                ws="none",
                lifespan="on",
                workers=1,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                timeout_keep_alive=75,  # longer than clients and proxies keep one, so that they are who ends it
                timeout_graceful_shutdown=1,
            )
        )
        self.app = app
        self.drain_seconds = settings.drain_seconds
        self.parent = parent
        self.tell_started = started
        self.closes_at = float("inf")
        self.ends_at = float("inf")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """For good: nothing is put back, or a second signal would end in a traceback or a wrong exit code."""
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT:
            self.drain(0, INTERRUPTED_PATIENCE)
        else:
            self.drain(self.drain_seconds, PATIENCE)

    def drain(self, seconds: float, patience: float) -> None:
        """May be called again, to hurry up."""
        if not self.app.state.draining:
            self.app.state.draining = True
            # Of requests in progress, and of those to come: their clients connect anew, and elsewhere.
            self.server_state.default_headers.append(CLOSE)
            self.config.encoded_headers.append(CLOSE)
        now = time.monotonic()
        self.closes_at = min(self.closes_at, now + seconds)
        self.ends_at = min(self.ends_at, now + patience)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.parent:
            asyncio.get_running_loop().add_reader(self.parent, self.obey, self.parent)
        gc.collect()
        gc.freeze()  # what there is now stays, and looking through it again and again makes requests wait
        self.tell_started()

    def obey(self, parent: socket.socket) -> None:
        order = b""
        with suppress(ConnectionError):
            order = parent.recv(1)
        if order == DRAIN:
            self.drain(self.drain_seconds, PATIENCE)
        elif order == STOP:
            self.drain(0, INTERRUPTED_PATIENCE)
        else:  # the parent is gone; worker.py notices that too, and ends this process
            asyncio.get_running_loop().remove_reader(parent)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(BoundedProtocol, connection).end_late_head(now)
        return time.monotonic() >= self.closes_at or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.close_port(sockets or [])
        await asyncio.sleep(LAST_CALL)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections and time.monotonic() < self.ends_at:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.02)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(3):  # a store that hangs does not keep the process
                await super().shutdown(sockets)

    async def close_port(self, sockets: list[socket.socket]) -> None:
        """Close it only after everybody was let in who had been queueing: the kernel resets the others."""
        waiting = []
        for listener in sockets:
            with suppress(BlockingIOError):
                while True:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: BoundedProtocol(
                    config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                ),
                connection,
            )
