"""The command `handover`."""

import signal
import sys


def run() -> None:
    # Python's own answer to an interrupt is a traceback, of whatever was going on. The server has a better one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from application.errors import OutcomeUnknown, Unavailable  # noqa: PLC0415 - what takes time comes after that line
    from domain.errors import DomainError  # noqa: PLC0415
    from infrastructure.container import Misconfigured  # noqa: PLC0415
    from interfaces.cli.commands import app  # noqa: PLC0415

    try:
        app(prog_name="handover")
    except (Misconfigured, Unavailable, OutcomeUnknown, DomainError) as error:
        blame = getattr(error, "field", None)
        print(f"handover: {blame}: {error}" if blame else f"handover: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
