"""Several servers under the same load, by turns, so that what the machine does besides meets all of them alike."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from bench.cases import Requests
from bench.load import Sent, send, write
from bench.serving import Server, Start, cpu_seconds, served
from bench.stores import Engine

WARM_UP = 1.0

Ask = Callable[[], Requests]
"""The requests of one run of a case."""


@dataclass(slots=True)
class Contender:
    name: str
    start: Start
    url: str
    server: Server
    folder: Path

    def requests(self, ask: Ask) -> Path:
        return write(ask(), self.folder / f"{self.name}-requests")


@dataclass(slots=True)
class Measured:
    """One case of one contender."""

    sent: list[Sent] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Microseconds of the server per request."""
    store_cpu: list[float] = field(default_factory=list)
    """Those of the engine's own processes."""

    @property
    def rate(self) -> float:
        return median(sent.rate for sent in self.sent)

    @property
    def answers(self) -> float:
        return median(sent.answers / sent.seconds for sent in self.sent)

    @property
    def failed(self) -> int:
        return sum(sent.failed for sent in self.sent)

    @property
    def refused(self) -> float:
        return sum(sent.refused for sent in self.sent) / sum(sent.answers for sent in self.sent)

    def percentile(self, which: str) -> float:
        return median(float(getattr(sent, which)) for sent in self.sent)


@contextmanager
def contender(name: str, start: Start, url: str, folder: Path) -> Iterator[Contender]:
    with served(start, url, folder / f"{name}.log") as server:
        yield Contender(name, start, url, server, folder)


def saturate(
    asked: dict[str, Ask], contenders: list[Contender], engine: Engine, *, rounds: int, seconds: float
) -> dict[str, Measured]:
    """With all that 32 connections can do; whoever is first in one round is last in the next."""
    measured = {one.name: Measured() for one in contenders}
    for one in contenders:
        send(one.requests(asked[one.name]), one.server.port, seconds=WARM_UP)
    for number in range(rounds):
        turn = number % len(contenders)
        for one in (*contenders[turn:], *contenders[:turn]):
            requests, noted = one.requests(asked[one.name]), measured[one.name]
            before = cpu_seconds(one.server.process), cpu_seconds(engine.process)
            sent = send(requests, one.server.port, seconds=seconds)
            after = cpu_seconds(one.server.process), cpu_seconds(engine.process)
            noted.sent.append(sent)
            noted.cpu.append((after[0] - before[0]) / sent.answers * 1e6)
            noted.store_cpu.append((after[1] - before[1]) / sent.answers * 1e6)
    return measured


def at_rate(
    asked: dict[str, Ask], contenders: list[Contender], rates: dict[str, float], *, rounds: int, seconds: float
) -> dict[str, Measured]:
    """At random moments that come to so many requests a second."""
    measured = {one.name: Measured() for one in contenders}
    for _ in range(rounds):
        for one in contenders:
            requests = one.requests(asked[one.name])
            measured[one.name].sent.append(send(requests, one.server.port, seconds=seconds, rate=rates[one.name]))
    return measured


def ask_one_by_one(port: int, requests: Requests, number: int) -> list[int]:
    """The statuses of the answers."""
    statuses = []
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(number):
        if connection.sock is None:
            connection.connect()
        connection.send(next(requests))
        response = connection.response_class(connection.sock)
        response.begin()
        response.read()
        statuses.append(response.status)
    connection.close()
    return statuses
