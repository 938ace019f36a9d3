"""Handover beside itself: more data, more processes, another adapter, environment or server, and at rest."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from application.paging import Sort
from bench import cases, stores
from bench.compare import HANDOVER, fill, starts
from bench.measure import Ask, contender, saturate
from bench.serving import Start, handover, handover_on_granian, served
from bench.stock import Stock, stock

SMALL, LARGE = 10_000, 1_000_000
FEWEST = 100
"""Items of each owner, so that an owner's page is full in both."""
SEVERAL = ["item", "page", "counted", "add", "transfer", "sign_in"]
STARTS = 5


@contextmanager
def started(engine_name: str) -> Iterator[tuple[stores.Engine, Path, ExitStack]]:
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(prefix="handover-bench-")))
        yield ends.enter_context(stores.ENGINES[engine_name](folder)), folder, ends


def scale(engine_name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    """The same requests with a hundred times as much in the store."""
    with started(engine_name) as (engine, folder, ends):
        contenders, asked = [], {}
        for items in (SMALL, LARGE):
            print(f"Filling {engine_name} with {items:,} items ...", flush=True)
            name, filled = f"with_{items}", stock(items=items, users=items // FEWEST if items < LARGE else 1000)
            asyncio.run(stores.fill_handover(engine, name, filled))
            contenders.append(ends.enter_context(contender(name, handover, engine.url(name), folder)))
            asked[name] = of_all_lists(filled)
        results = {}
        for title in asked[contenders[0].name]:
            print(f"{title} ...", flush=True)
            by_size = {one.name: asked[one.name][title] for one in contenders}
            measured = saturate(by_size, contenders, engine, rounds=rounds, seconds=seconds)
            results[title] = {name: round(it.rate, 1) for name, it in measured.items()}
    return {"kind": "scale", "engine": engine_name, "cases": results}


def of_all_lists(filled: Stock) -> dict[str, Ask]:
    asks = cases.Handover(filled)
    owner = filled.users[1].id

    def pages(sort: Sort[Any], **filters: object) -> Ask:
        return lambda: asks.pages(sort, **filters)

    orders = [Sort(by, descending) for by in ("id", "created_at", "price", "name") for descending in (False, True)]
    return {
        "read an item": asks.item,
        **{f"pages by {'-' * it.descending}{it.by}": pages(it) for it in orders if it != Sort("id", True)},
        **{
            f"an owner's pages by {by}": pages(Sort(by), owner_id=owner) for by in ("id", "created_at", "price", "name")
        },
        "pages of a range of prices, by -price": asks.found,
        "the same with its total": asks.counted,
        "hand an item over": asks.transfer,
    }


def several(
    engine_name: str, variants: list[tuple[str, Start]], *, rounds: int, seconds: float
) -> tuple[dict[str, Any], dict[str, float]]:
    """Variants of Handover on one store."""
    with started(engine_name) as (engine, folder, ends):
        filled = stock(items=100_000)
        asyncio.run(stores.fill_handover(engine, HANDOVER, filled))
        contenders = [
            ends.enter_context(contender(name, start, engine.url(HANDOVER), folder)) for name, start in variants
        ]
        # They share a store: each hands over items of its own.
        asks = {one.name: cases.Handover(filled, 20 * number) for number, one in enumerate(contenders)}
        results = {}
        for case in SEVERAL:
            print(f"{cases.TITLES[case]} ...", flush=True)
            asked: dict[str, Ask] = {name: getattr(asking, case) for name, asking in asks.items()}
            measured = saturate(asked, contenders, engine, rounds=rounds, seconds=seconds)
            results[case] = {
                name: {
                    "rate": round(it.rate, 1),
                    "p99": round(it.percentile("p99"), 1),
                    "cpu_us": round(median(it.cpu)),
                    "store_cpu_us": round(median(it.store_cpu)),
                }
                for name, it in measured.items()
            }
        return results, {one.name: round(one.server.peak, 1) for one in contenders}


def workers(engine_name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    def two(url: str, log: Path, port: int) -> Any:
        return handover(url, log, port, WORKERS="2")

    variants: list[tuple[str, Start]] = [(HANDOVER, handover), ("2 workers", two)]
    results, peaks = several(engine_name, variants, rounds=rounds, seconds=seconds)
    return {"kind": "several", "engine": engine_name, "cases": results, "peak_mb": peaks}


def adapters(engine_name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    def sqlmodel(url: str, log: Path, port: int) -> Any:
        return handover(url, log, port, PERSISTENCE="sqlmodel")

    variants: list[tuple[str, Start]] = [("Core", handover), ("SQLModel", sqlmodel)]
    results, peaks = several(engine_name, variants, rounds=rounds, seconds=seconds)
    return {"kind": "several", "engine": engine_name, "cases": results, "peak_mb": peaks}


def environments(engine_name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    def development(url: str, log: Path, port: int) -> Any:
        return handover(url, log, port, ENVIRONMENT="development")

    variants: list[tuple[str, Start]] = [("production", handover), ("development", development)]
    results, peaks = several(engine_name, variants, rounds=rounds, seconds=seconds)
    return {"kind": "several", "engine": engine_name, "cases": results, "peak_mb": peaks}


def servers(engine_name: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    variants: list[tuple[str, Start]] = [(HANDOVER, handover), ("granian", handover_on_granian)]
    results, peaks = several(engine_name, variants, rounds=rounds, seconds=seconds)
    return {"kind": "several", "engine": engine_name, "cases": results, "peak_mb": peaks}


def rest(engine_name: str) -> dict[str, Any]:
    """From the command to the first answer, and the memory of what has answered nothing else."""
    with started(engine_name) as (engine, folder, _):
        asyncio.run(fill(engine, stock(items=SMALL)))
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(STARTS):
            for name, start in starts(engine_name):
                with served(start, engine.url(name), folder / f"{name}.log") as server:
                    found.setdefault(name, []).append((server.seconds_to_start, server.resident))
        return {
            "kind": "rest",
            "engine": engine_name,
            "seconds_to_start": {name: round(median(it[0] for it in all_), 2) for name, all_ in found.items()},
            "resident_mb": {name: round(median(it[1] for it in all_), 1) for name, all_ in found.items()},
        }
