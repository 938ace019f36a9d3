"""HTTP/1.1 as uvicorn speaks it, with the limits that uvicorn does not set, and with problems for its errors."""

import asyncio
import secrets
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from interfaces.http.middleware import common_headers
from interfaces.http.responses.problems import problem

LARGEST_FRAME = 512 * 1024
"""Bytes of the address, headers, chunk sizes and trailers, all of which are kept until the request is complete."""
HEAD_SECONDS = 10.0
"""How long a client may take to send a head: from the connection on, or from its first byte if it is not the first."""


class Gathering:
    """A transport that sends together what is written together: uvicorn's head and body would be two packets."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits: for the size of what surrounds a body, and for the time and the number of idle connections.

    What cannot be parsed is answered with a problem, as every other error is.
    """

    most_connections = 2**20
    """How many connections the server may have at once; the process's limit of files decides."""

    frame = 0
    in_head = True
    head_begun = False
    head_due: float | None = None
    """When the head that is expected has to be complete, on the event loop's clock; None between two requests."""
    waiting_since = 0.0
    """When the connection was made, or its last request had been received."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))
        self.waiting_since = self.loop.time()
        self.head_due = self.waiting_since + HEAD_SECONDS
        if len(self.connections) > self.most_connections:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest; this one if all others are in use."""
        idle = [other for other in cast(set[BoundedProtocol], self.connections) if other.is_idle and other is not self]
        longest = min(idle, key=lambda other: other.waiting_since, default=self)
        self.connections.discard(longest)
        longest.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request has come whose answer is not out yet."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self.frame += len(data)
        super().data_received(data)
        if self.frame > LARGEST_FRAME and not self.transport.is_closing():
            if self.in_head:
                self.refuse("headers-too-large")
            else:  # an answer may be on its way, which this would garble
                self.transport.abort()

    def on_message_begin(self) -> None:
        self.head_begun = True
        if self.head_due is None:
            self.head_due = self.loop.time() + HEAD_SECONDS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.in_head, self.head_begun, self.head_due = False, False, None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.frame -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.frame, self.in_head, self.waiting_since = 0, True, self.loop.time()
        super().on_message_complete()

    def end_late_head(self, now: float) -> None:
        """Close the connection if nothing but the rest of a head is awaited, and its time is up."""
        late = self.head_due is not None and now > self.head_due
        if late and self.is_idle and not self.transport.is_closing():
            if self.head_begun:
                self.refuse("request-timeout")
            else:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse("bad-request")

    def refuse(self, slug: str) -> None:
        """Answer what is no request with a problem, and close.

        If an earlier request has not been answered yet, or an answer to this one has begun, there is no place for
        another answer: then the connection is cut.
        """
        if not self.is_idle and (self.pipeline or self.cycle.response_started or not self.cycle.more_body):
            self.transport.abort()
            return
        request_id = secrets.token_hex(16)
        response = problem({"path": "/", "state": {"request_id": request_id}}, slug, headers={"Connection": "close"})
        headers = response.raw_headers + common_headers(response.raw_headers, request_id)
        lines = [b"HTTP/1.1 %d %s" % (response.status_code, HTTPStatus(response.status_code).phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
