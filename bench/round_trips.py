"""Counts how often a server waits for its store: whenever it speaks after the store has spoken."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from urllib.parse import urlsplit


@dataclass(slots=True)
class Counter:
    port: int
    trips: int = 0


@contextmanager
def counted(url: str) -> Iterator[Counter]:
    """A way to the store of this address, by which what passes is counted."""
    store = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        counter = Counter(listener.getsockname()[1])
        ends: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    ours, _ = listener.accept()
                except OSError:
                    return
                theirs = socket.create_connection((store.hostname or "", store.port or 0))
                ends.extend((ours, theirs))
                line = Line(counter)
                Thread(target=line.carry, args=(ours, theirs, True), daemon=True).start()
                Thread(target=line.carry, args=(theirs, ours, False), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        try:
            yield counter
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for end in ends:
                end.close()


@dataclass(slots=True)
class Line:
    counter: Counter
    asking: bool = False

    def carry(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        try:
            while data := source.recv(65536):
                self.counter.trips += asks and not self.asking
                self.asking = asks
                target.sendall(data)
        except OSError:
            pass  # one end has gone
        finally:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def through(url: str, port: int) -> str:
    """The address by way of this port. A replica set would tell its members' own addresses, so it is not asked."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    query = "directConnection=true" if parts.scheme == "mongodb" else parts.query
    return parts._replace(netloc=f"{user}127.0.0.1:{port}", query=query).geturl()
