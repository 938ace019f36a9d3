"""A worker: one of several processes that serve on a socket of their parent. It ends when its parent has ended.

The parent may be killed at any time, even while a worker is still importing modules. The end of the socket pair between
them does not show that reliably: if the parent leaves unread data in it, uvloop stops watching the worker's end without
a callback. So a thread checks the parent's process id from the beginning.
"""

import os
import pickle
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from interfaces.cli.terminal.stderr import lose_what_stderr_cannot_take

CHECK_INTERVAL = 0.2
"""Seconds between two checks of the parent."""
SECONDS_TO_STOP = 4.0
"""How long running requests may take once the parent has ended. A new server needs the port."""


def stop_with_parent(parent: int) -> None:
    """Wait until the process with this id is no longer the parent, then end this process.

    It gets SIGINT first. If it still runs after SECONDS_TO_STOP, it exits at once with code 1.
    """
    while os.getppid() == parent:
        time.sleep(CHECK_INTERVAL)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SECONDS_TO_STOP)
    os._exit(1)


def main() -> int:
    """Serve until the parent orders this process to stop, or has ended; return the exit code of serve().

    The command line has the file descriptors of the listening socket and of the control socket, and the parent's id.
    On stdin are its settings, pickled, so that all workers have the same, whatever `.env` says by now. One byte is sent
    on the control socket when requests are accepted.
    """
    lose_what_stderr_cannot_take()
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the server handles it
    threading.Thread(target=stop_with_parent, args=[int(sys.argv[3])], daemon=True).start()

    from interfaces.cli.serving.server import serve  # slow to import, and the parent may be killed meanwhile

    def report_started() -> None:
        """Tell the parent that this worker serves."""
        with suppress(OSError):  # the parent has ended
            control.sendall(b"!")

    pickled = sys.stdin.buffer.read()
    if not pickled:  # the parent has ended
        return 1
    settings = pickle.loads(pickled)  # noqa: S301 - our parent has written it
    return serve(settings, listener, control=control, on_started=report_started)


if __name__ == "__main__":
    sys.exit(main())
