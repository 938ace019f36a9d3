"""Headers that every response has, and checks of request headers that every request needs."""

import re
import secrets
from collections.abc import Iterable

from starlette.types import Scope

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""The characters of a host and a port (RFC 3986, section 3.2)."""
_ORIGIN = re.compile(rb"^https?://[^/]*")

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case, and values."""


def get_request_id(scope: Scope) -> str:
    """Return the client's X-Request-ID if it is 1 to 128 ASCII letters, digits or `._-`; else a new random one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)


def has_valid_host(scope: Scope) -> bool:
    """Return whether the request has exactly one Host header, and that is valid (RFC 9112, section 3.2).

    It is valid if it has only the characters of a host and a port, or is empty. HTTP/1.0 needs no Host header.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1:
        return _HOST.fullmatch(hosts[0]) is not None
    return not hosts and scope["http_version"] == "1.0"


def without_origin(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the headers with scheme and host removed from Location.

    The framework takes both from the request, and a forged Host header must not redirect a client elsewhere.
    """
    return [(name, _ORIGIN.sub(b"", value) if name == b"location" else value) for name, value in headers]


def common_headers(present: RawHeaders, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers to add to a response that has the headers `present`.

    They are X-Request-ID, X-Content-Type-Options and Cache-Control. The last is left out if it is present; else it is
    `private, no-cache` for a response with an ETag, which the client may keep and revalidate, and `no-store` for any
    other.
    """
    names = {name.lower() for name, _ in present}
    headers = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
    if b"cache-control" not in names:
        headers.append((b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store"))
    return headers
