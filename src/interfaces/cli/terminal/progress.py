"""Progress of commands that read a whole store: bars on a terminal, plain lines in a pipe."""

import sys
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING

import typer

from application.streaming import Record, label

if TYPE_CHECKING:
    from rich.progress import TaskID


def progress() -> "AbstractContextManager[Bars | Lines]":
    """Return a context manager that yields a Report callback.

    It shows bars if stderr is a terminal; otherwise it prints lines to stderr.
    """
    return Bars() if sys.stderr.isatty() else nullcontext(Lines())


class Lines:
    """A progress callback that prints a line to stderr when all records of a kind are done."""

    def __init__(self) -> None:
        self.began = monotonic()

    def __call__(self, phase: str, kind: type[Record], done: int, total: int) -> None:
        """If all records are done, print their number and the seconds since this object was made; else do nothing."""
        if done >= total:
            seconds = monotonic() - self.began
            typer.echo(f"{phase}: {done:,} {label(kind)}, {seconds:.1f} s since the start", err=True)


class Bars:
    """A progress callback that shows a bar per phase and kind of records on stderr, with the rate and the time left.

    The bars are shown inside a `with` block.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, phase: str, kind: type[Record], done: int, total: int) -> None:
        """Set the bar of this phase and kind to `done` records of `total`; the first call adds the bar."""
        name = f"{phase}: {label(kind)}"
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total, rate="")
        task = self.tasks[name]
        speed = self.progress.tasks[task].speed
        self.progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed else "")
