"""Handover beside the textbook and the floor: the same requests of each, by turns, on the same machine and data."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import cases, stores
from bench.load import Sent, send, write
from bench.round_trips import counted, through
from bench.serving import Server, Start, cpu_seconds, handover, peer, served
from bench.stock import Stock, stock

HANDOVER, TEXTBOOK, FLOOR = "handover", "textbook", "floor"
WARM_UP = 1.0
ASKED = 50
"""Requests, one after another, whose round trips are counted."""


@dataclass(slots=True)
class Contender:
    name: str
    start: Start
    url: str
    asks: cases.Peer
    server: Server
    runs: int = 0

    def requests(self, case: str, folder: Path) -> Path:
        self.runs += case == "transfer"
        return write(cases.requests(self.asks, case, self.runs), folder / f"{self.name}-{case}")


@dataclass(slots=True)
class Measured:
    """One case of one contender."""

    sent: list[Sent] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Microseconds of the server per request."""
    store_cpu: list[float] = field(default_factory=list)
    """Those of the engine's own processes."""
    half: list[Sent] = field(default_factory=list)
    """At half of the rate that saturates it."""
    round_trips: float | None = None

    def figures(self) -> dict[str, Any]:
        return {
            "rate": round(median(sent.rate for sent in self.sent), 1),
            "rates": [round(sent.rate, 1) for sent in self.sent],
            "refused": round(sum(sent.refused for sent in self.sent) / sum(sent.answers for sent in self.sent), 4),
            "failed": sum(sent.failed for sent in (*self.sent, *self.half)),
            "p50": round(median(sent.p50 for sent in self.sent), 2),
            "p99": round(median(sent.p99 for sent in self.sent), 2),
            "half_p50": round(median(sent.p50 for sent in self.half), 2),
            "half_p99": round(median(sent.p99 for sent in self.half), 2),
            "cpu_us": round(median(self.cpu)),
            "store_cpu_us": round(median(self.store_cpu)),
            "round_trips": self.round_trips,
        }


def compare(engine_name: str, chosen: list[str], *, items: int, rounds: int, seconds: float) -> dict[str, Any]:
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(prefix="handover-bench-")))
        engine = ends.enter_context(stores.ENGINES[engine_name](folder))
        print(f"Filling {engine_name} with {items:,} items ...", flush=True)
        filled = stock(items=items)
        asyncio.run(fill(engine, filled))
        contenders = [
            ends.enter_context(contender(name, start, engine, filled, folder))
            for name, start in (
                (HANDOVER, handover),
                (TEXTBOOK, peer(f"textbook_{engine_name}")),
                (FLOOR, peer(f"floor_{engine_name}", "--no-access-log")),
            )
        ]
        results = {}
        for case in chosen:
            print(f"{cases.TITLES[case]} ...", flush=True)
            measured = run_case(case, contenders, engine, folder, rounds=rounds, seconds=seconds)
            results[case] = {name: one.figures() for name, one in measured.items()}
        peaks = {one.name: round(one.server.peak, 1) for one in contenders}
    return {"engine": engine_name, "items": items, "peak_mb": peaks, "cases": results}


async def fill(engine: stores.Engine, filled: Stock) -> None:
    await stores.fill_handover(engine, HANDOVER, filled)
    await stores.fill_floor(engine, FLOOR, HANDOVER)
    await stores.fill_textbook(engine, TEXTBOOK, filled)


@contextmanager
def contender(name: str, start: Start, engine: stores.Engine, filled: Stock, folder: Path) -> Iterator[Contender]:
    url = engine.url(name)
    with served(start, url, folder / f"{name}.log") as server:
        asks: cases.Peer
        if name == HANDOVER:
            asks = cases.Handover(filled, server.port)
        else:
            asks = cases.Textbook(filled) if name == TEXTBOOK else cases.Floor(filled)
        yield Contender(name, start, url, asks, server)


def run_case(
    case: str, contenders: list[Contender], engine: stores.Engine, folder: Path, *, rounds: int, seconds: float
) -> dict[str, Measured]:
    measured = {one.name: Measured() for one in contenders}
    for one in contenders:
        send(one.requests(case, folder), one.server.port, seconds=WARM_UP)
    for number in range(rounds):
        turn = number % len(contenders)
        for one in (*contenders[turn:], *contenders[:turn]):
            before = cpu_seconds(one.server.process), cpu_seconds(engine.process)
            sent = send(one.requests(case, folder), one.server.port, seconds=seconds)
            after = cpu_seconds(one.server.process), cpu_seconds(engine.process)
            noted = measured[one.name]
            noted.sent.append(sent)
            noted.cpu.append((after[0] - before[0]) / sent.answers * 1e6)
            noted.store_cpu.append((after[1] - before[1]) / sent.answers * 1e6)
    for _ in range(min(rounds, 3)):
        for one in contenders:
            noted = measured[one.name]
            rate = median(sent.answers / sent.seconds for sent in noted.sent) / 2
            noted.half.append(send(one.requests(case, folder), one.server.port, seconds=seconds, rate=rate))
    for one in contenders:
        if engine.process:
            measured[one.name].round_trips = round_trips(one, case, folder)
    return measured


def round_trips(one: Contender, case: str, folder: Path) -> float:
    """Of a server by itself, which is asked one thing after another."""
    one.runs += case == "transfer"
    asked = cases.requests(one.asks, case, one.runs)
    with (
        counted(one.url) as counter,
        served(one.start, through(one.url, counter.port), folder / "counted.log") as server,
    ):
        ask(server.port, asked, ASKED)  # statements are prepared once
        before = counter.trips
        ask(server.port, asked, ASKED)
        return round((counter.trips - before) / ASKED, 1)


def ask(port: int, requests: cases.Requests, number: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(number):
        if connection.sock is None:
            connection.connect()
        connection.send(next(requests))
        response = connection.response_class(connection.sock)
        response.begin()
        response.read()
    connection.close()
