"""Results as tables: for the terminal, and as they stand in docs/performance.md, which a test compares."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from bench.cases import TITLES

KEPT = Path(__file__).with_name("results")
"""What docs/performance.md shows."""

NAMES = {"handover": "Handover", "textbook": "textbook", "floor": "floor"}


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    heads: list[str]
    rows: list[list[str]]

    def show(self) -> None:
        table = RichTable(title=self.title, title_justify="left")
        for number, head in enumerate(self.heads):
            table.add_column(head, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console = Console()
        (console if console.is_terminal else Console(width=180)).print(table)

    def markdown(self) -> str:
        align = ["---", *["---:"] * (len(self.heads) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.heads, align, *self.rows))


def tables(results: dict[str, Any]) -> list[Table]:
    make = {"compare": comparison, "scale": scale, "several": several, "rest": rest}[results["kind"]]
    return make(results)


def saved() -> dict[str, list[Table]]:
    """All results that are kept, by the name of their file."""
    return {path.stem: tables(json.loads(path.read_text())) for path in sorted(KEPT.glob("*.json"))}


def comparison(results: dict[str, Any]) -> list[Table]:
    rates, latencies, costs = [], [], []
    for case, by_name in results["cases"].items():
        three = ours, textbook, floor = tuple(by_name[name] for name in NAMES)
        rates.append(
            [
                TITLES[case],
                *(f"{it['rate']:,.0f}" for it in three),
                f"{ours['rate'] / textbook['rate']:.2f}",
                f"{ours['rate'] / floor['rate']:.2f}",
                " · ".join(f"{it['refused']:.0%}" for it in three),
                " · ".join(str(it["failed"]) for it in three),
            ]
        )
        latencies.append(
            [
                TITLES[case],
                *(f"{it['alike_p50']:.1f} · {it['alike_p99']:.1f}" for it in three),
                f"{ours['alike_p99'] / textbook['alike_p99']:.2f}",
                *(f"{it['half_p50']:.1f} · {it['half_p99']:.1f}" for it in (ours, floor)),
                f"{ours['half_p99'] / textbook['half_p99']:.2f}",
                *(f"{it['p50']:.0f} · {it['p99']:.0f}" for it in three),
            ]
        )
        costs.append(
            [
                TITLES[case],
                *(f"{it['cpu_us']:,} + {it['store_cpu_us']:,}" for it in three),
                *("" if it["round_trips"] is None else f"{it['round_trips']:g}" for it in three),
            ]
        )
    names = [*NAMES.values()]
    engine = results["engine"]
    return [
        Table(
            f"{engine}: successes a second, 32 connections, medians",
            ["", *names, "/ textbook", "/ floor", "refused", "failed"],
            rates,
        ),
        Table(
            "p50 · p99 in ms: at half of what saturates the textbook; at half of what saturates each; at all of it",
            [
                "",
                *(f"{name}, same" for name in names),
                "p99 / textbook's",
                *(f"{name}, own half" for name in (names[0], names[2])),
                "p99 / textbook's",
                *(f"{name}, all" for name in names),
            ],
            latencies,
        ),
        Table(
            "µs of processor time per request, server + store, and round trips to the store",
            ["", *names, *(f"{name}, trips" for name in names)],
            costs,
        ),
        Table(f"{engine}: peak memory", ["MB", *names], [["", *(f"{results['peak_mb'][name]:.0f}" for name in NAMES)]]),
    ]


def scale(results: dict[str, Any]) -> list[Table]:
    few, many = next(iter(results["cases"].values()))
    heads = ["", *(f"{int(name.removeprefix('with_')):,} items" for name in (few, many)), "many / few"]
    rows = [
        [title, f"{rates[few]:,.0f}", f"{rates[many]:,.0f}", f"{rates[many] / rates[few]:.2f}"]
        for title, rates in results["cases"].items()
    ]
    return [Table(f"{results['engine']}: successes a second with more data", heads, rows)]


def several(results: dict[str, Any]) -> list[Table]:
    first, second = names = [*results["peak_mb"]]
    rows = [
        [
            TITLES[case],
            *(f"{by_name[name]['rate']:,.0f}" for name in names),
            f"{by_name[second]['rate'] / by_name[first]['rate']:.2f}",
            *(f"{by_name[name]['p99']:.0f}" for name in names),
            *(f"{by_name[name]['cpu_us']:,} + {by_name[name]['store_cpu_us']:,}" for name in names),
        ]
        for case, by_name in results["cases"].items()
    ]
    heads = ["", *names, "second / first", *(f"{it}, p99 ms" for it in names), *(f"{it}, µs + store's" for it in names)]
    peaks = [["", *(f"{results['peak_mb'][name]:.0f}" for name in names)]]
    return [
        Table(f"{results['engine']}: successes a second", heads, rows),
        Table(f"{results['engine']}: peak memory", ["MB", *names], peaks),
    ]


def rest(results: dict[str, Any]) -> list[Table]:
    rows = [
        [NAMES[name], f"{seconds:.2f}", f"{results['resident_mb'][name]:.0f}"]
        for name, seconds in results["seconds_to_start"].items()
    ]
    return [Table(f"{results['engine']}: from nothing", ["", "seconds to the first answer", "MB at rest"], rows)]
