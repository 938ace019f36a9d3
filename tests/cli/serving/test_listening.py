"""What is said if the server cannot listen where it should."""

import errno
import socket

import pytest

from infrastructure.container import Misconfigured
from interfaces.cli.serving.listening import listen
from tests.cli.serving.open_files import no_file_left


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "256.1.1.1", "fe80::1", "localhost ", "*", "a..b", "münchen..de", "ü" * 70, "a\0b", "\udcff"],
)
def test_a_host_that_is_no_address_is_named(host: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        listen(host, 0)
    assert str(refused.value).startswith(f"HANDOVER_HOST: {host} is no address of this machine; ")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"^HANDOVER_PORT: port {port} on 127.0.0.1 is taken; "):
            listen("127.0.0.1", port)


def test_a_limit_of_the_system_is_not_taken_for_a_wrong_address() -> None:
    """The command names the limit (see tests/cli/test_refusals.py)."""
    with no_file_left(), pytest.raises(OSError, match="Too many open files") as refused:
        listen("127.0.0.1", 0)
    assert refused.value.errno == errno.EMFILE
