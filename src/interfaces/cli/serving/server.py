"""One process that serves: uvicorn, with a shutdown that loses no request.

uvicorn by itself closes the port at once, drops requests that arrive on idle connections, and raises the signal again,
so that a stop looks like a failure. Here readiness fails first, requests are served for a while longer, and the exit
code is 0. This overrides methods of uvicorn.Server, which uvicorn does not document (decision 0013); tests/cli
fails if uvicorn changes what is used here.
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

import structlog
import uvicorn
from fastapi import FastAPI

from application.ports import PasswordHasher, PoolUsage
from application.store import Store
from application.use_cases.purge import PurgeInTurn
from infrastructure.container import Settings, build_container
from interfaces.cli.serving.listening import accept_all, refuse_new_connections
from interfaces.cli.serving.protocol import BoundedProtocol
from interfaces.cli.serving.purging import purge_repeatedly
from interfaces.cli.terminal.stderr import lost_writes
from interfaces.http.app import create_app
from interfaces.http.metrics import Metrics
from interfaces.logs import configure_logs

log = structlog.get_logger()

STOPPED, FAILED_TO_START = 0, 3
DRAIN, STOP = b"d", b"s"
"""Orders that the parent of several workers sends them: stop gracefully, or stop at once."""

DRAIN_LIMIT = 25.0
"""Seconds after SIGTERM at which requests that still run are aborted; orchestrators kill after 30."""
INTERRUPT_LIMIT = 3.0
"""The same after SIGINT."""
HANDSHAKE_GRACE = 0.2
"""Seconds for which connections that clients have begun to make can still be made before the port is closed."""
IDLE_GRACE = 0.2
"""Seconds in which requests may still arrive on idle connections after the port has been closed."""
CLOSE_HEADER = (b"connection", b"close")

RESERVED_FILES = 64
"""File descriptors that are kept for everything but clients and the store."""
FILES_PER_SQLITE_CONNECTION = 4
"""A connection of SQLite has the database, its log and its index open; those of other stores have one socket."""
TICKS_PER_SECOND = 10
"""How often uvicorn calls on_tick()."""
PURGE_GRACE = 0.5
"""Seconds that a cancelled purge may take to give its connection back before the store is closed."""


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    control: socket.socket | None = None,
    on_started: Callable[[], None],
) -> int:
    """Serve on a listening socket, until a signal or an order to stop.

    Return the exit code: STOPPED, or FAILED_TO_START if the app did not start; the log says why. If only the store
    cannot be opened, the app starts all the same (see app.py). Raise Misconfigured if the adapter refuses the settings.

    `control` is the socket through which a parent sends orders, None if there is no parent. `on_started` is called when
    requests are accepted.
    """
    configure_logs(settings)  # for what is logged while the app is created
    BoundedProtocol.max_connections = max_connections(settings)
    app = create_app(build_container(settings))
    try:
        Server(app, settings, control, on_started).run([listener])
    except SystemExit:  # raised by uvicorn if the app did not start; the log says why
        return FAILED_TO_START
    return STOPPED


def max_connections(settings: Settings) -> int:
    """Raise the process's limit of open files to the hard limit, and return how many client connections it allows.

    At least half of the files are for clients, however many connections to the store the settings allow. Without a hard
    limit, return the current BoundedProtocol.max_connections.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return BoundedProtocol.max_connections
    files = FILES_PER_SQLITE_CONNECTION if settings.scheme == "sqlite" else 1
    store_files = files * (settings.pool_size + settings.pool_overflow)
    return max(hard - RESERVED_FILES - store_files, hard // 2)


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it stops, and closes connections whose heads are late.

    It also purges expired records in the background, unless the settings turn that off. It follows the orders DRAIN and
    STOP that a parent sends through `control`, and calls `on_started` once requests are accepted.
    """

    def __init__(
        self, app: FastAPI, settings: Settings, control: socket.socket | None, on_started: Callable[[], None]
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
                timeout_keep_alive=75,  # longer than clients and proxies use, so that they close it and not the server
                timeout_graceful_shutdown=1,
            )
        )
        self.app = app
        self.metrics: Metrics = app.state.metrics
        self.ticked_at: float | None = None
        self.drain_seconds = settings.drain_seconds
        self.purges = settings.purge_interval > 0
        self.purging: asyncio.Task[None] | None = None
        self.control = control
        self.ordered_to_stop = False
        """Whether the parent has sent an order, as it does to all workers at once."""
        self.signals: dict[str, bool] = {}
        """The names of the signals that have come, and whether each is logged."""
        self.on_started = on_started
        self.closes_at = float("inf")
        self.ends_at = float("inf")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT for the rest of the process.

        uvicorn would restore the handlers; a second signal would then end in a traceback or a wrong exit code.
        """
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain: on SIGTERM serve for `drain_seconds` more, on SIGINT close the port without delay.

        Running requests are aborted DRAIN_LIMIT or INTERRUPT_LIMIT seconds after the signal (see drain). on_tick() logs
        the signal, because it may have come while something else was being logged; a worker's parent does so itself.
        """
        if self.control is None:
            self.signals.setdefault(signal.Signals(sig).name, False)
        if sig == signal.SIGINT:
            self.drain(0, INTERRUPT_LIMIT)
        else:
            self.drain(self.drain_seconds, DRAIN_LIMIT)

    def drain(self, seconds: float, limit: float) -> None:
        """Make the server close its port in `seconds`, and abort the requests that still run in `limit` seconds.

        Returns at once; both times count from this call, and a second call can only shorten them. From now on readiness
        fails, and responses ask their clients to close the connection.
        """
        if not self.app.state.draining:
            self.app.state.draining = True
            # For running and for new requests, so that their clients connect to another server next time.
            self.server_state.default_headers.append(CLOSE_HEADER)
            self.config.encoded_headers.append(CLOSE_HEADER)
        now = time.monotonic()
        self.closes_at = min(self.closes_at, now + seconds)
        self.ends_at = min(self.ends_at, now + limit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, listen to the parent's orders, begin to purge, and call `on_started`.

        Without a parent there are no orders, and with a purge interval of 0 no purges. The objects that exist by then
        are excluded from garbage collection. Raise SystemExit if the app does not start.
        """
        await super().startup(sockets)
        if self.control:
            asyncio.get_running_loop().add_reader(self.control, self.follow_order, self.control)
        if self.purges:
            purge = self.app.state.use_cases_and_ports[PurgeInTurn]
            self.purging = asyncio.create_task(purge_repeatedly(purge, self.metrics))
        self.metrics.record_start()
        self.metrics.record_pools(self.pools())
        gc.collect()
        gc.freeze()  # these objects are permanent; looking through them would delay requests
        self.on_started()

    def follow_order(self, control: socket.socket) -> None:
        """Read an order of the parent and follow it: DRAIN has the effect of SIGTERM, and STOP that of SIGINT.

        If the parent has ended instead, read no more orders; this server goes on until worker.py stops it.
        """
        order = b""
        with suppress(ConnectionError):
            order = control.recv(1)
        self.ordered_to_stop |= bool(order)
        if order == DRAIN:
            self.drain(self.drain_seconds, DRAIN_LIMIT)
        elif order == STOP:
            self.drain(0, INTERRUPT_LIMIT)
        else:  # the parent has ended; the thread in worker.py notices it, too, and ends this process
            asyncio.get_running_loop().remove_reader(control)

    def pools(self) -> dict[str, PoolUsage]:
        """Return how busy the password hasher and, once the store is open, its connection pools are, by name."""
        use_cases_and_ports = self.app.state.use_cases_and_ports
        store: Store = use_cases_and_ports[Store]
        passwords: PasswordHasher = use_cases_and_ports[PasswordHasher]
        return {**({} if self.app.state.store_fault else store.pools()), "passwords": passwords.usage()}

    def connections(self) -> list[BoundedProtocol]:
        """Return the connections with clients that are open now."""
        return cast(list[BoundedProtocol], list(self.server_state.connections))

    async def on_tick(self, counter: int) -> bool:
        """Close connections whose heads are late, once a second; return whether it is time to close the port.

        uvicorn calls this TICKS_PER_SECOND times a second. Each call records by how much it is late, and, once a
        second, how busy the pools are and how many lines of the log were lost. The first call after a signal logs it,
        and the first after drain() cancels the purge.
        """
        began = time.monotonic()
        for name in [name for name, is_logged in self.signals.items() if not is_logged]:
            self.signals[name] = True
            log.info("draining", signal=name)
        if self.ticked_at is not None:
            self.metrics.lag.observe(max(0.0, began - self.ticked_at - 1 / TICKS_PER_SECOND))
        if self.app.state.draining and self.purging and not self.purging.cancelling():
            self.purging.cancel()
        if counter % TICKS_PER_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in self.connections():
                connection.close_if_head_is_late(now)
            self.metrics.record_pools(self.pools())
            self.metrics.record_lost_log_lines(lost_writes())
        stops = time.monotonic() >= self.closes_at or await super().on_tick(counter)
        self.ticked_at = time.monotonic()
        return stops

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, let running requests end, then close the store.

        Idle connections are closed after IDLE_GRACE. Requests that still run when the limit of drain() is reached are
        aborted. A cancelled purge may take PURGE_GRACE to end. Closing the store is given up after 3 seconds.
        """
        await self.close_port(sockets or [])
        await asyncio.sleep(IDLE_GRACE)
        while self.server_state.connections and time.monotonic() < self.ends_at:
            for connection in self.connections():
                connection.close_if_head_is_late(asyncio.get_running_loop().time())
                connection.shutdown()
            await asyncio.sleep(0.02)
        for connection in self.connections():
            connection.transport.abort()
        if self.purging:
            await asyncio.wait({self.purging}, timeout=PURGE_GRACE)
        with suppress(TimeoutError):
            async with asyncio.timeout(3):  # the process ends even if closing the store hangs
                await super().shutdown(sockets)

    def other_workers_keep_serving(self) -> bool:
        """Return whether other workers go on to serve on the same sockets when this one stops.

        They do if the parent still runs and has sent no order: then somebody has stopped this worker alone, and a new
        one takes its place. Without a parent there are no other workers. All workers stop if the parent has ended; this
        is looked up here, because follow_order() may not be told of it (see worker.py).
        """
        if self.control is None or self.ordered_to_stop:
            return False
        try:
            self.control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:  # the parent has ended with unread data
            return False
        return False  # an order that has not been read yet, or the end of the parent

    async def close_port(self, sockets: list[socket.socket]) -> None:
        """Accept all connections that clients have made, then close the port, and serve those connections.

        Closing the port first would reset them. Unless other workers keep serving on these sockets, the kernel is told
        HANDSHAKE_GRACE before to make no new connections, so that none is made after the last accept(). The others
        would get no new connections either.
        """
        if not self.other_workers_keep_serving():
            for listener in sockets:
                refuse_new_connections(listener)
            await asyncio.sleep(HANDSHAKE_GRACE)
        queued = [connection for listener in sockets for connection in accept_all(listener)]
        for server in self.servers:
            server.close()
        for connection in queued:
            try:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: BoundedProtocol(
                        config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                    ),
                    connection,
                )
            except OSError:  # this client has gone; the others have not
                connection.close()
