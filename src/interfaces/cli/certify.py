"""The command `handover certify`, which checks that an adapter keeps what Handover promises."""

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from interfaces.cli.terminal.interruption import interruptible
from interfaces.cli.terminal.output import AsJson, print_json

if TYPE_CHECKING:
    from interfaces.certification import certify as certifying

CONCURRENCY = "what_clients_see"
"""What selects the tests that record what many clients see, as pytest's -k."""


def certify(
    url: Annotated[str, typer.Option(help="An empty database for the tests, which clear it.")],
    adapter: Annotated[str, typer.Option(help="Its adapter; by default that of the URL.")] = "",
    only: Annotated[str, typer.Option(help="Run only the tests whose names match, as pytest's -k.")] = "",
    concurrency: Annotated[
        bool, typer.Option("--concurrency", help="Only record what many clients see, for minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the contract tests on an installed adapter.

    Report which promises it keeps; exit with 1 if one is broken. A database that is not empty is refused. What the
    tests write is deleted.
    """
    from infrastructure.container import Misconfigured, load_settings

    try:
        from interfaces.certification import certify as certifying
    except ModuleNotFoundError as error:
        raise Misconfigured(f"this command needs the package {error.name}: pip install 'handover[certify]'") from None
    if concurrency:
        only = CONCURRENCY if not only else f"{CONCURRENCY} and ({only})"
    settings = load_settings(database_url=url, persistence=adapter)
    capabilities = asyncio.run(certifying.prepare(settings))
    began = monotonic()
    with interruptible("nothing is certified, and the database may not be empty"), _progress() as progress:
        certificate = certifying.certify(settings, capabilities, progress, only, concurrency=concurrency)
    if as_json:
        print_json(certificate.as_json())
    else:
        _print(certificate, monotonic() - began, only)
    if not certificate.is_granted:
        raise typer.Exit(1)


@contextmanager
def _progress() -> "Iterator[certifying.Progress]":
    """Yield a progress callback: it shows a bar if stderr is a terminal, else prints a line per promise to stderr."""
    if not sys.stderr.isatty():
        yield Lines()
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed  {task.description}")
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, failed=0)
        yield lambda promise, ended, total, failed: bar.update(
            task, description=promise, completed=ended, total=total, failed=failed
        )


class Lines:
    """A progress callback that prints a line to stderr after the first test of each promise."""

    def __init__(self) -> None:
        self.promise = ""

    def __call__(self, promise: str, ended: int, total: int, failed: int) -> None:
        """Print how many tests have ended and failed, if the promise differs from that of the last call."""
        if promise != self.promise:
            typer.echo(f"{ended:4} of {total} tests, {failed} failed: {promise}", err=True)
            self.promise = promise


def _print(certificate: "certifying.Certificate", seconds: float, only: str) -> None:
    """Print each promise with its failures, each tested capability, and the verdict.

    `seconds` is how long the tests took. If `only` has selected some of them, the verdict is never `Certified.`
    """
    for promise in certificate.promises:
        print(f"{'held' if promise.is_held else 'BROKEN':8}{promise.text} ({promise.tests} tests)")
        for failure in promise.failures:
            print(f"{'':8}{failure.test}")
            print(textwrap.indent(failure.reason, " " * 12))
            name = failure.test.rpartition("::")[2].partition("[")[0]
            print(f"{'':12}To repeat it: handover certify --url {certificate.url} --only {name}")
    for name, is_verified in sorted(certificate.verified.items()):
        stated = getattr(certificate.capabilities, name)
        print(f"{'verified' if is_verified else 'NOT AS STATED'}  {name} = {stated}")
    tests = sum(promise.tests for promise in certificate.promises)
    broken = [promise for promise in certificate.promises if not promise.is_held]
    print(f"{tests} tests in {seconds:.0f} s on {certificate.url} with the adapter {certificate.adapter}.")
    if broken:
        print(f"NOT certified: {len(broken)} of {len(certificate.promises)} promises broken.")
    else:
        print("Held, but this was only a part of the tests." if only else "Certified.")
