"""The command `handover certify`, which checks that an adapter keeps what Handover promises."""

import os
import sys
import textwrap
from time import monotonic
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from interfaces.cli.store import naming
from interfaces.cli.terminal.interruption import Interrupted
from interfaces.cli.terminal.output import AsJson, print_json

if TYPE_CHECKING:
    from interfaces.certification import certify as certifying
    from interfaces.certification.results import Progress, Promise

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
    selected = only
    if concurrency:
        selected = CONCURRENCY if not only else f"{CONCURRENCY} and ({only})"
    began = monotonic()
    try:
        with naming(HANDOVER_DATABASE_URL="--url", HANDOVER_PERSISTENCE="--adapter"):
            settings = load_settings(database_url=url, persistence=adapter)
            certificate = certifying.Certification(settings, _progress()).run(selected, concurrency=concurrency)
    except certifying.Stopped as stopped:
        raise Interrupted(str(stopped), stopped.number) from None
    except certifying.NoSuchSelection:
        print(
            f"handover: --only: {only!r} cannot be read: join parts of names of tests by `and`, `or`, `not` and"
            " parentheses, such as 'test_items and not removed'",
            file=sys.stderr,
        )
        raise typer.Exit(2) from None
    if as_json:
        print_json(certificate.as_json())
    else:
        _print(certificate, monotonic() - began)
    if not certificate.is_granted:
        raise typer.Exit(1)


def _progress() -> "Progress":
    """Return what shows the progress: a bar if stderr is a terminal, else a line per promise on stderr."""
    # What stderr is now, while pytest replaces it during the tests.
    stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    return Bar(stderr) if stderr.isatty() else Lines(stderr)


class Bar:
    """Shows a progress bar on a terminal (port Progress)."""

    def __init__(self, stderr: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed  {task.description}")
        self.bar = Progress(*columns, console=Console(file=stderr), redirect_stdout=False, redirect_stderr=False)
        self.task = self.bar.add_task("", total=None, failed=0)

    def update(self, promise: "Promise", ended: int, total: int, failed: int) -> None:
        """Show the numbers and the promise."""
        self.bar.start()
        self.bar.update(self.task, description=promise.text, completed=ended, total=total, failed=failed)

    def tell(self, line: str) -> None:
        """Print the line above the bar."""
        self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self.bar.stop()


class Lines:
    """Prints a line when the tests of a promise begin (port Progress)."""

    def __init__(self, stderr: TextIO) -> None:
        self.stderr = stderr
        self.promise = ""

    def update(self, promise: "Promise", ended: int, total: int, failed: int) -> None:
        """Print which tests are those of the promise, if it differs from that of the last call."""
        if promise.text != self.promise:
            self.promise = promise.text
            last = ended + promise.tests
            which = f"test {last}" if promise.tests == 1 else f"tests {ended + 1} to {last}"
            self.tell(f"{which} of {total}: {promise.text}")

    def tell(self, line: str) -> None:
        """Print the line to the stderr of the command, also while pytest captures its own."""
        print(line, file=self.stderr)

    def stop(self) -> None:
        """Do nothing, because lines that are printed need no end."""


def _print(certificate: "certifying.Certificate", seconds: float) -> None:
    """Print each promise with its failures, each tested capability, and the verdict.

    `seconds` is how long the tests took. If only a part of them was run, the verdict is never `Certified.`
    """
    for promise in certificate.promises:
        failed = len({failure.test for failure in promise.failures})
        tests = f"{failed} of {promise.tests} tests failed" if failed else f"{promise.tests} tests"
        print(f"{'held' if promise.is_held else 'BROKEN':8}{promise.text} ({tests})")
        for failure in promise.failures:
            print(f"{'':8}{failure.test}")
            if failure.about:
                print(f"{'':12}{failure.about}")
            print(textwrap.indent(failure.reason, " " * 12))
            name = failure.test.rpartition("::")[2].partition("[")[0]
            print(f"{'':12}To repeat it: handover certify --url {certificate.url} --only {name}")
    for name, is_verified in sorted(certificate.verified.items()):
        stated = getattr(certificate.capabilities, name)
        print(f"{'verified' if is_verified else 'NOT AS STATED'}  {name} = {stated}")
    total = sum(promise.tests for promise in certificate.promises)
    broken = [promise for promise in certificate.promises if not promise.is_held]
    print(f"{total} tests in {seconds:.0f} s on {certificate.url} with the adapter {certificate.adapter}.")
    if broken:
        print(f"NOT certified: {len(broken)} of {len(certificate.promises)} promises broken.")
    else:
        print("Certified." if certificate.is_complete else "Held, but this was only a part of the tests.")
