"""Results as a table, as JSON and as a picture."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table

from bench.cases import TITLES

RESULTS = Path(__file__).with_name("results")
CONTENDERS = {"handover": "#2f6f4f", "textbook": "#c27a3a", "floor": "#9aa5b1"}


def machine() -> dict[str, str]:
    """What the figures hang on, without a name that would tell whose machine it is."""
    packages = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "aiosqlite", "pymongo", "beanie")
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def save(name: str, results: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results | {"machine": machine()}, indent=1) + "\n")
    return path


def show(title: str, heads: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 180).print(table)


def show_comparison(results: dict[str, Any]) -> None:
    rates, latencies, costs = [], [], []
    for case, by_name in results["cases"].items():
        ours, textbook, floor = by_name["handover"], by_name["textbook"], by_name["floor"]
        three = ours, textbook, floor
        rates.append(
            [
                TITLES[case],
                *(f"{it['rate']:,.0f}" for it in three),
                f"{ours['rate'] / textbook['rate']:.2f}",
                f"{ours['rate'] / floor['rate']:.2f}",
                " / ".join(f"{it['refused']:.0%}" for it in three),
                str(sum(it["failed"] for it in three)),
            ]
        )
        latencies.append(
            [
                TITLES[case],
                *(f"{it['half_p50']:.1f} / {it['half_p99']:.1f}" for it in three),
                f"{ours['half_p99'] / textbook['half_p99']:.2f}",
                *(f"{it['alike_p50']:.1f} / {it['alike_p99']:.1f}" for it in (ours, floor)),
                f"{ours['alike_p99'] / textbook['alike_p99']:.2f}",
                *(f"{it['p50']:.0f} / {it['p99']:.0f}" for it in three),
            ]
        )
        costs.append(
            [
                TITLES[case],
                *(f"{it['cpu_us']:,} + {it['store_cpu_us']:,}" for it in three),
                *("-" if it["round_trips"] is None else f"{it['round_trips']:g}" for it in three),
            ]
        )
    names = ["Handover", "textbook", "floor"]
    show(
        f"{results['engine']}: successes a second, 32 connections, medians",
        ["", *names, "/ textbook", "/ floor", "refused", "failed"],
        rates,
    )
    show(
        "p50 / p99 in ms: at half of what saturates each; at half of what saturates the textbook; at all of it",
        [
            "",
            *(f"{name}, half" for name in names),
            "p99 / textbook's",
            *(f"{name}, alike" for name in ("Handover", "floor")),
            "p99 / textbook's",
            *(f"{name}, all" for name in names),
        ],
        latencies,
    )
    show(
        "µs of processor time per request, server + store, and round trips to the store",
        ["", *names, *(f"{name}, trips" for name in names)],
        costs,
    )
    show("peak memory in MB", names, [[f"{results['peak_mb'][name]:.0f}" for name in CONTENDERS]])


def show_scale(results: dict[str, Any]) -> None:
    few, many = next(iter(results["cases"].values()))
    rows = [
        [title, f"{rates[few]:,.0f}", f"{rates[many]:,.0f}", f"{rates[many] / rates[few]:.2f}"]
        for title, rates in results["cases"].items()
    ]
    heads = ["", *(f"{name.removeprefix('with_')} items" for name in (few, many)), "many / few"]
    show(f"{results['engine']}: successes a second with more data", heads, rows)


def show_several(results: dict[str, Any]) -> None:
    names = [*next(iter(results["cases"].values()))]
    rows = [
        [
            TITLES[case],
            *(f"{by_name[name]['rate']:,.0f}" for name in names),
            f"{by_name[names[1]]['rate'] / by_name[names[0]]['rate']:.2f}",
            *(f"{by_name[name]['p99']:.0f}" for name in names),
            *(f"{by_name[name]['cpu_us']:,} + {by_name[name]['store_cpu_us']:,}" for name in names),
        ]
        for case, by_name in results["cases"].items()
    ]
    heads = ["", *names, "second / first", *(f"{it}, p99 ms" for it in names), *(f"{it}, µs + store" for it in names)]
    show(f"{results['engine']}: successes a second", heads, rows)
    show("peak memory in MB", names, [[f"{results['peak_mb'][name]:.0f}" for name in names]])


def show_rest(results: dict[str, Any]) -> None:
    rows = [
        [name, f"{seconds:.2f}", f"{results['resident_mb'][name]:.0f}"]
        for name, seconds in results["seconds_to_start"].items()
    ]
    show(f"{results['engine']}: from nothing", ["", "seconds to the first answer", "MB at rest"], rows)


def draw_comparison(results: dict[str, Any]) -> Path:
    mpl.rcParams.update({"svg.hashsalt": "handover", "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(8, 0.62 * len(results["cases"]) + 1), layout="constrained")
    names = [*results["cases"]]
    for offset, (contender, colour) in enumerate(CONTENDERS.items()):
        places = [number + (offset - 1) * 0.27 for number in range(len(names))]
        rates = [results["cases"][case][contender]["rate"] for case in names]
        bars = axes.barh(places, rates, 0.25, color=colour, label=contender.capitalize() if offset == 0 else contender)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("successes a second, one server process, 32 connections (logarithmic)")
    axes.set_yticks(range(len(names)), [TITLES[case] for case in names])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    axes.legend(loc="lower right", frameon=False)
    path = RESULTS / f"{results['engine']}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
