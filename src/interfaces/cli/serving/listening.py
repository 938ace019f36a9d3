"""The socket on which the server listens: how it is opened, and how it refuses new connections before it is closed."""

import ctypes
import errno
import socket
import struct
import sys
from contextlib import suppress

import structlog

from infrastructure.container import Misconfigured

log = structlog.get_logger()

BACKLOG = 2048
"""How many new connections the kernel keeps until a worker accepts them."""

SO_ATTACH_FILTER = 26
"""Linux's socket option that sets a packet filter; Python has no name for it."""
DROP_SYN = struct.pack(
    "=" + "HBBI" * 5,
    *(0x30, 0, 0, 13),  # load the flags of the TCP header
    *(0x54, 0, 0, 0x12),  # apply a mask to them, so that only the two bits SYN and ACK count
    *(0x15, 0, 1, 0x02),  # if only SYN is set, the packet asks for a new connection:
    *(0x06, 0, 0, 0),  # drop it
    *(0x06, 0, 0, 0xFFFFFFFF),  # else let all of it pass
)
"""A program for Linux's packet filter (classic BPF): five instructions of 8 bytes."""


def listen(host: str, port: int) -> socket.socket:
    """Return a non-blocking socket that listens on this port.

    `host` is an IPv4 or IPv6 address or a name. Clients that connect before a worker accepts them wait. Raise
    Misconfigured if a setting is the reason that this is not possible, and OSError if a limit of the system is.
    """
    no_address = f"HANDOVER_HOST: {host} is no address of this machine; set it to one, such as 127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (TypeError, UnicodeError):  # the name has characters that Python cannot write as a name of DNS
        raise Misconfigured(no_address) from None
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                fault = f"HANDOVER_PORT: port {port} on {host} is taken; set it to another one"
            case errno.EACCES:
                fault = f"HANDOVER_PORT: port {port} is for the administrator; set it to 1024 or more"
            case errno.EMFILE | errno.ENFILE | errno.ENOMEM:
                raise  # main.py says what to do
            case _:
                fault = no_address
        raise Misconfigured(fault) from None
    listener.setblocking(False)
    return listener


def accept_all(listener: socket.socket) -> list[socket.socket]:
    """Accept all connections that clients have made on this non-blocking socket, and return them.

    If that is not possible, for example because no file descriptor is left, log the reason and return those that have
    been accepted until then. A client that has gone is left out.
    """
    accepted = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            return accepted
        except ConnectionAbortedError:
            continue
        except OSError as error:
            log.warning("clients cannot be accepted", reason=error.strerror)
            return accepted


def refuse_new_connections(listener: socket.socket) -> None:
    """Make the kernel ignore requests for new connections on this socket, which any process may have open.

    Connections that have been made stay as they are, and can be accepted. A client that connects asks again after a
    second; if the socket has been closed by then, its connection is refused. Without this, a connection that the kernel
    makes between the last accept() and close() is reset, although its client may have sent a request.

    Do nothing on systems other than Linux, or if the kernel does not allow it.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(DROP_SYN, len(DROP_SYN))
        with suppress(OSError):
            listener.setsockopt(
                socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_SYN) // 8, ctypes.addressof(program))
            )
