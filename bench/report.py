"""Results as JSON and as a picture."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from bench.cases import TITLES
from bench.tables import NAMES, tables

COLOURS = {"handover": "#2f6f4f", "textbook": "#c27a3a", "floor": "#9aa5b1"}
WRITTEN = Path("build/bench")
"""Copy it to bench/results to keep it."""

PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "aiosqlite", "pymongo", "beanie")


def report(name: str, results: dict[str, Any]) -> None:
    for table in tables(results):
        table.show()
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    WRITTEN.mkdir(parents=True, exist_ok=True)
    path = WRITTEN / f"{name}.json"
    path.write_text(json.dumps(results | {"machine": machine | {it: version(it) for it in PACKAGES}}, indent=1) + "\n")
    print(path)


def draw(results: dict[str, Any]) -> Path:
    mpl.rcParams.update({"svg.hashsalt": "handover", "svg.fonttype": "none", "font.size": 9})
    cases = results["cases"]
    figure, axes = pyplot.subplots(figsize=(8, 0.62 * len(cases) + 1), layout="constrained")
    for offset, (name, colour) in enumerate(COLOURS.items()):
        places = [number + (offset - 1) * 0.27 for number in range(len(cases))]
        rates = [by_name[name]["rate"] for by_name in cases.values()]
        bars = axes.barh(places, rates, 0.25, color=colour, label=NAMES[name])
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel(f"successes a second on {results['engine']}, one server process, 32 connections (logarithmic)")
    axes.set_yticks(range(len(cases)), [TITLES[case] for case in cases])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    axes.legend(loc="lower right", frameon=False)
    path = WRITTEN / f"{results['engine']}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
