"""The measurements: `python -m bench --help`."""

import signal
import sys
from typing import Annotated

import typer

from bench import others, report, tables
from bench.cases import TITLES
from bench.compare import compare
from bench.load import NoLoad
from bench.soak.run import soak
from bench.soak.samples import ENGINES as SOAKED
from bench.stores import ENGINES
from tests.support.servers import ServerNotStarted

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Engine = Annotated[str, typer.Option(help=f"One of {', '.join(ENGINES)}.")]
Cases = Annotated[str, typer.Option(help=f"Some of {', '.join(TITLES)}, with commas between; otherwise all.")]
Items = Annotated[int, typer.Option(min=10_000, help="How many there are when it begins.")]
Rounds = Annotated[int, typer.Option(min=1, max=20, help="Times that each is measured, by turns.")]
FewRounds = Annotated[int, typer.Option(min=1, max=4, help="As for compare; there are items for four.")]
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
    report.report(engine, results)
    print(report.draw(results))


@app.command("scale")
def scale_command(engine: Engine = "postgresql", rounds: FewRounds = 3, seconds: Seconds = 3) -> None:
    """A hundred times as much data."""
    results = others.scale(engine, rounds=rounds, seconds=seconds)
    report.report(f"{engine}-scale", results)


@app.command("workers")
def workers_command(engine: Engine = "postgresql", rounds: Rounds = 5, seconds: Seconds = 3) -> None:
    """One worker and two."""
    results = others.workers(engine, rounds=rounds, seconds=seconds)
    report.report(f"{engine}-workers", results)


@app.command("adapters")
def adapters_command(engine: Engine = "postgresql", rounds: Rounds = 5, seconds: Seconds = 3) -> None:
    """The two adapters for SQL: SQLAlchemy Core and SQLModel."""
    results = others.adapters(engine, rounds=rounds, seconds=seconds)
    report.report(f"{engine}-adapters", results)


@app.command("environments")
def environments_command(engine: Engine = "postgresql", rounds: Rounds = 5, seconds: Seconds = 3) -> None:
    """Production and development, which differ in the format of the log."""
    results = others.environments(engine, rounds=rounds, seconds=seconds)
    report.report(f"{engine}-environments", results)


@app.command("servers")
def servers_command(engine: Engine = "postgresql", rounds: Rounds = 5, seconds: Seconds = 3) -> None:
    """uvicorn, as `handover serve` has it, and granian."""
    results = others.servers(engine, rounds=rounds, seconds=seconds)
    report.report(f"{engine}-servers", results)


@app.command("rest")
def rest_command(engine: Engine = "postgresql") -> None:
    """How long a start takes, and the memory at rest."""
    results = others.rest(engine)
    report.report(f"{engine}-rest", results)


@app.command("soak")
def soak_command(
    engine: Annotated[str, typer.Option(help="memory, sqlite, postgresql or mongodb.")] = "sqlite",
    minutes: Annotated[float, typer.Option(min=1, max=24 * 60, help="How long the load lasts.")] = 30,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Requests a second in all.")] = 50,
) -> None:
    """A steady mixed load for a long time; exit with 1 if anything grows, or any answer was a 5xx."""
    if engine not in SOAKED:
        raise typer.BadParameter(f"{engine}: there are {', '.join(SOAKED)}", param_hint="--engine")
    faults = soak(engine, minutes=minutes, rate=rate)
    print("\n".join(faults) or "nothing grew, and nothing failed")
    raise typer.Exit(bool(faults))


@app.command("tables")
def tables_command() -> None:
    """The results that are kept, as the tables of docs/performance.md."""
    for name, made in tables.saved().items():
        for table in made:
            print(f"{name}: {table.title}\n\n{table.markdown()}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and stores end with it even then
    try:
        app()
    except (NoLoad, ServerNotStarted) as missing:
        print(f"bench: {missing}", file=sys.stderr)
        sys.exit(1)
