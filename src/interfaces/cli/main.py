"""The entry point of the command `handover`."""

import signal
import sys


def run() -> None:
    """Run the command line.

    Misconfigured, Unavailable, OutcomeUnknown, Interrupted and DomainError are printed to stderr in one line, with exit
    code 1. Variables that look like settings and are none are named on stderr before. Ctrl+C ends the process at once,
    without a traceback or cleanup, except in `serve` and in commands that take minutes (see interruption.py).
    """
    # Python would print a traceback on Ctrl+C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from application.errors import OutcomeUnknown, Unavailable  # noqa: PLC0415 - slow imports come after that line
    from domain.errors import DomainError  # noqa: PLC0415
    from infrastructure.container import Misconfigured, unknown_variables  # noqa: PLC0415
    from interfaces.cli.commands import app  # noqa: PLC0415
    from interfaces.cli.interruption import Interrupted  # noqa: PLC0415

    for fault in unknown_variables():
        print(f"handover: {fault}", file=sys.stderr)
    try:
        app(prog_name="handover")
    except (Misconfigured, Unavailable, OutcomeUnknown, Interrupted, DomainError) as error:
        field = getattr(error, "field", None)
        print(f"handover: {field}: {error}" if field else f"handover: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
