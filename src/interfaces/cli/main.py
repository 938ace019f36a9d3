"""The entry point of the command `handover`."""

import errno
import os
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn

from interfaces.cli.limits import LIMITS
from interfaces.cli.terminal.stderr import lose_what_stderr_cannot_take


def run() -> None:
    """Run the command line, and end the process.

    Misconfigured, Unavailable, OutcomeUnknown, Interrupted and DomainError are printed to stderr in one line, with exit
    code 1. Ctrl+C ends the process at once, without a traceback or cleanup, except in `serve` and in commands that
    clean up first (see interruption.py). Wherever it is pressed, the process then ends by SIGINT, so that a loop of a
    shell ends, too. If the reader of a pipe has ended, the process ends by SIGPIPE, as other commands do. SIGTERM ends
    the process at once, except in `serve` once it serves, and in `certify`, which cleans up first.

    What cannot be written to stderr is lost, and changes neither what a command does nor its exit code.
    """
    # Python would print a traceback on Ctrl+C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() == 1:  # of a container: the kernel does nothing about signals that it does not handle itself
        signal.signal(signal.SIGINT, _exit_at_once)
        signal.signal(signal.SIGTERM, _exit_at_once)
    _open_closed_streams()
    lose_what_stderr_cannot_take()
    warnings.showwarning = _print_warning
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # another program's; `serve` makes a folder for its own workers

    from interfaces.cli.commands import app
    from interfaces.cli.terminal.interruption import Interrupted

    try:
        try:
            app(prog_name="handover")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _end_by(signal.SIGPIPE)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer has replaced it by exit code 1
            _end_by(signal.SIGPIPE)
        raise
    except Interrupted as error:
        print(f"handover: {error}", file=sys.stderr)
        _end_by(error.number)
    except _refusals() as error:
        field = getattr(error, "field", None)
        print(f"handover: {field}: {error}" if field else f"handover: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno in LIMITS:
            print(f"handover: {LIMITS[error.errno]}", file=sys.stderr)
            sys.exit(1)
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to write the rest at its end, and complain
        print("handover: not all of the output could be written: no space left on the device", file=sys.stderr)
        sys.exit(1)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning of Python, such as of a driver about a file of passwords, to stderr in one line."""
    print(f"handover: {message}", file=sys.stderr)


def _open_closed_streams() -> None:
    """Open /dev/null in place of each of stdin, stdout and stderr that is closed, as after `handover serve <&-`.

    Python has None there, which cannot be read or written.
    """
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - until the process ends


def _refusals() -> tuple[type[Exception], ...]:
    """Return the errors that are printed in one line. Called only if an error was raised, as the import is slow."""
    from application.errors import OutcomeUnknown, Unavailable
    from domain.errors import DomainError
    from infrastructure.container import Misconfigured

    return Misconfigured, Unavailable, OutcomeUnknown, DomainError


def _end_by(number: signal.Signals) -> NoReturn:
    """End this process by this signal, without further output. Shells report 128 + the number of the signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1, which does not end by signals


def _exit_at_once(number: int, _: FrameType | None) -> None:
    """End this process without cleanup, with the exit code that shells show for a process that a signal has ended."""
    os._exit(128 + number)


if __name__ == "__main__":
    run()
