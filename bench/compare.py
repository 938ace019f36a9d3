"""Handover beside the textbook and the floor: the same requests of each, on the same machine and data."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import cases, stores
from bench.measure import Ask, Contender, Measured, ask_one_by_one, at_rate, contender, saturate
from bench.round_trips import counted, through
from bench.serving import Start, handover, peer, served
from bench.stock import Stock, stock

HANDOVER, TEXTBOOK, FLOOR = "handover", "textbook", "floor"
ASKED = 50
"""Requests, one after another, whose round trips are counted."""


def compare(engine_name: str, chosen: list[str], *, items: int, rounds: int, seconds: float) -> dict[str, Any]:
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(prefix="handover-bench-")))
        engine = ends.enter_context(stores.ENGINES[engine_name](folder))
        print(f"Filling {engine_name} with {items:,} items ...", flush=True)
        filled = stock(items=items)
        asyncio.run(fill(engine, filled))
        contenders = [
            ends.enter_context(contender(name, start, engine.url(name), folder)) for name, start in starts(engine_name)
        ]
        asks = peers(filled)
        results: dict[str, dict[str, dict[str, Any]]] = {}
        for case in chosen:
            print(f"{cases.TITLES[case]} ...", flush=True)
            results[case] = run_case(case, contenders, asks, engine, rounds=rounds, seconds=seconds)
        peaks = {one.name: round(one.server.peak, 1) for one in contenders}
        if engine.process:
            print("round trips ...", flush=True)
            for one in contenders:
                for case, trips in round_trips(one, chosen, asks[one.name]).items():
                    results[case][one.name]["round_trips"] = trips
    return {"kind": "compare", "engine": engine_name, "items": items, "peak_mb": peaks, "cases": results}


def starts(engine_name: str) -> list[tuple[str, Start]]:
    return [
        (HANDOVER, handover),
        (TEXTBOOK, peer(f"textbook_{engine_name}")),
        (FLOOR, peer(f"floor_{engine_name}", "--no-access-log")),
    ]


def peers(filled: Stock) -> dict[str, cases.Peer]:
    return {HANDOVER: cases.Handover(filled), TEXTBOOK: cases.Textbook(filled), FLOOR: cases.Floor(filled)}


async def fill(engine: stores.Engine, filled: Stock) -> None:
    await stores.fill_handover(engine, HANDOVER, filled)
    await stores.fill_floor(engine, FLOOR, HANDOVER)
    await stores.fill_textbook(engine, TEXTBOOK, filled)


def run_case(
    case: str,
    contenders: list[Contender],
    asks: dict[str, cases.Peer],
    engine: stores.Engine,
    *,
    rounds: int,
    seconds: float,
) -> dict[str, dict[str, Any]]:
    asked: dict[str, Ask] = {name: getattr(asking, case) for name, asking in asks.items()}
    full = saturate(asked, contenders, engine, rounds=rounds, seconds=seconds)
    # Half of what each can do, and for all of them half of what the textbook can.
    own = {name: measured.answers / 2 for name, measured in full.items()}
    same = dict.fromkeys(own, own[TEXTBOOK])
    half = at_rate(asked, contenders, own, rounds=min(rounds, 3), seconds=seconds)
    others = [one for one in contenders if one.name != TEXTBOOK]
    alike = {TEXTBOOK: half[TEXTBOOK], **at_rate(asked, others, same, rounds=min(rounds, 3), seconds=seconds)}
    return {name: figures(full[name], half[name], alike[name]) for name in full}


def figures(full: Measured, half: Measured, alike: Measured) -> dict[str, Any]:
    return {
        "rate": round(full.rate, 1),
        "rates": [round(sent.rate, 1) for sent in full.sent],
        "refused": round(full.refused, 4),
        "failed": full.failed + half.failed + alike.failed,
        "p50": round(full.percentile("p50"), 2),
        "p99": round(full.percentile("p99"), 2),
        "half_p50": round(half.percentile("p50"), 2),
        "half_p99": round(half.percentile("p99"), 2),
        "alike_p50": round(alike.percentile("p50"), 2),
        "alike_p99": round(alike.percentile("p99"), 2),
        "cpu_us": round(median(full.cpu)),
        "store_cpu_us": round(median(full.store_cpu)),
        "round_trips": None,
    }


def round_trips(one: Contender, chosen: list[str], asking: cases.Peer) -> dict[str, float]:
    """Of another such server by itself, which is asked one thing after another."""
    with (
        counted(one.url) as counter,
        served(one.start, through(one.url, counter.port), one.folder / "counted.log") as server,
    ):
        found = {}
        for case in chosen:
            requests = getattr(asking, case)()
            ask_one_by_one(server.port, requests, ASKED)  # statements are prepared once
            before = counter.trips
            ask_one_by_one(server.port, requests, ASKED)
            found[case] = round((counter.trips - before) / ASKED, 1)
        return found
