"""The measurements: `python -m bench --help`."""

import sys
from typing import Annotated

import typer

from bench import report
from bench.cases import TITLES
from bench.compare import compare
from bench.load import NoLoad
from bench.stores import ENGINES
from tests.servers import ServerNotStarted

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Engine = Annotated[str, typer.Option(help=f"One of {', '.join(ENGINES)}.")]
Cases = Annotated[str, typer.Option(help=f"Some of {', '.join(TITLES)}, with commas between; otherwise all.")]
Items = Annotated[int, typer.Option(min=10_000, help="How many there are when it begins.")]
Rounds = Annotated[int, typer.Option(min=1, max=20, help="Times that each is measured, by turns.")]
Seconds = Annotated[float, typer.Option(min=1, max=60, help="That one run takes.")]


@app.callback()
def callback() -> None:
    """Measure Handover. Servers and stores are started for it, on the loopback interface, and end with it."""


@app.command("compare")
def compare_command(
    engine: Engine = "postgresql", cases: Cases = "", items: Items = 100_000, rounds: Rounds = 5, seconds: Seconds = 3
) -> None:
    """Handover beside the textbook and the floor."""
    chosen = cases.split(",") if cases else [*TITLES]
    for case in chosen:
        if case not in TITLES:
            raise typer.BadParameter(f"{case}: there are {', '.join(TITLES)}", param_hint="--cases")
    results = compare(engine, chosen, items=items, rounds=rounds, seconds=seconds)
    report.show_comparison(results)
    print(report.save(engine, results))
    print(report.draw_comparison(results))


if __name__ == "__main__":
    try:
        app()
    except (NoLoad, ServerNotStarted) as missing:
        print(f"bench: {missing}", file=sys.stderr)
        sys.exit(1)
