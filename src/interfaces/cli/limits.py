"""The limits of the system that a command or a worker may meet when it starts."""

import errno

FILES = "too many files are open: raise the limit (ulimit -n, or LimitNOFILE of systemd)"
LIMITS = {
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.EAGAIN: "no further process can be started: raise the limit (ulimit -u, systemd's TasksMax, or --pids-limit)",
    errno.ENOMEM: "there is not enough memory",
}
"""What to do about a limit of the system, by the number of the error. It is met when a command or a worker starts."""
