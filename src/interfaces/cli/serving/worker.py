"""A worker: one of several processes that serve on the socket of their parent, and end when it is gone.

The parent may be killed at any moment, the seconds included in which a worker imports what it needs. The end of a
socket does not tell for sure: if the parent leaves unread data in it, the worker's end is reset, and uvloop stops
watching it without calling anybody. So a thread looks at the parent's process id from the very beginning.
"""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

LOOK_EVERY = 0.2
"""Seconds between two looks."""
SECONDS_TO_END = 4.0
"""How long requests may take to end once the parent is gone: its successor needs the port."""


def end_with(parent: int) -> None:
    """Wait until the process of this id is no longer the parent, then interrupt this process, and soon after end it."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SECONDS_TO_END)
    os._exit(1)


def main() -> int:
    listener, parent = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the server serves and has a better answer
    threading.Thread(target=end_with, args=[int(sys.argv[3])], daemon=True).start()

    from interfaces.cli.serving.server import serve  # noqa: PLC0415 - takes seconds, in which the parent may be killed

    def tell_started() -> None:
        with suppress(OSError):  # the parent is gone
            parent.sendall(b"!")

    return serve(listener, parent=parent, started=tell_started)


if __name__ == "__main__":
    sys.exit(main())
