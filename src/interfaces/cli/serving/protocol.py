"""uvicorn's HTTP/1.1 protocol, with limits that uvicorn does not set and with problem responses for its errors.

This overrides methods of uvicorn's protocol, which uvicorn does not document. Decision 0015 says which promises need
it; tests/cli/serving/test_protocol.py fails if uvicorn changes what is used here.
"""

import asyncio
import fcntl
import math
import secrets
import termios
from array import array
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from interfaces.cli.serving.coalescing_transport import CoalescingTransport
from interfaces.http.middleware.headers import common_headers
from interfaces.http.responses.problems import problem_response

MAX_FRAMING_BYTES = 512 * 1024
"""Limit for everything but the body: address, headers, chunk sizes and trailers. It is kept until the request ends."""
MAX_ADDRESS_BYTES = 65535
"""The longest address, from the path on, that httptools can read."""
HEAD_SECONDS = 10.0
"""How long a client may take to send the head of a request.

It counts from the connection for the first request, and from the first byte for later ones.
"""
SECONDS_TO_READ = 1.0
"""After how long a client that has not read its response may be disconnected to make room for another."""


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits for the size of heads, for the time they take, and for the number of connections.

    Beyond the last one, the connection that has been idle for longest is closed. Requests that cannot be parsed get a
    problem response, as all other errors do, if the connection still allows one. The header `Upgrade` is ignored.
    """

    max_connections = 2**20
    """How many connections the server may have at once. Set at start from the process's limit of open files."""

    url = b""
    """The address of the request that is being parsed, as far as it has arrived."""
    framing_bytes = 0
    """How many bytes have been received for the current request, without those of its body."""
    in_head = True
    head_has_begun = False
    head_deadline: float | None = None
    """When the head of the next request must be complete, on the event loop's clock; None if no head is expected."""
    idle_since = 0.0
    """When the connection was made or its last response was complete, on the event loop's clock."""
    paused_since = math.inf
    """Since when a running response waits for its client to read, on the event loop's clock; infinity if none does."""

    def connection_made(self, transport: Any) -> None:
        """Start the time limit for the first head, and write through a CoalescingTransport from here on.

        If there are too many connections, close the one that has been idle for longest, or this one if no other is
        idle.
        """
        super().connection_made(cast(asyncio.Transport, CoalescingTransport(transport, self.loop)))
        self.idle_since = self.loop.time()
        self.head_deadline = self.idle_since + HEAD_SECONDS
        if len(self.connections) > self.max_connections:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest, or this one if no other is idle.

        A response that is complete is sent before. Only if there is no other choice, a connection is aborted whose
        client has not read its response for SECONDS_TO_READ.
        """
        others = cast(set[BoundedProtocol], self.connections) - {self}
        late = self.loop.time() - SECONDS_TO_READ
        closable = [other for other in others if (other.unread_since < late if other.is_unread else other.is_idle)]
        longest = min(closable, key=lambda other: (other.is_unread, other.idle_since), default=self)
        self.connections.discard(longest)
        if longest.is_unread:
            longest.transport.abort()  # close() would wait until the client reads
        else:
            longest.transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether every request whose head was received has been answered completely."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_unread(self) -> bool:
        """Whether a part of a response waits in this process until the client has read what comes before it."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def unread_since(self) -> float:
        """Since when the client of a connection that is unread has been given time to read, on the event loop's clock.

        It is infinity while a response is running and does not wait for the client yet.
        """
        return self.idle_since if self.is_idle else self.paused_since

    def pause_writing(self) -> None:
        """Make the response wait until the client has read more, and note the time."""
        self.paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Let the response go on."""
        self.paused_since = math.inf
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and end the connection if a request has more than MAX_FRAMING_BYTES beside its body.

        While its head is being read, the problem `headers-too-large` (431) is sent first. Later, the connection is
        aborted.
        """
        self._unset_keepalive_if_required()
        self.framing_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("")
        if self.framing_bytes > MAX_FRAMING_BYTES and not self.transport.is_closing():
            if self.in_head:
                self.send_problem("headers-too-large")
            else:  # a response may have begun, and a second one would corrupt it
                self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """Parse the data, and a request that asks for another protocol as if it did not (RFC 9110, section 7.8).

        httptools takes all that follows the head of such a request for data of the other protocol. Therefore the head
        is parsed a second time, without `Upgrade`, by a new parser, which then goes on with what follows.
        """
        unparsed = memoryview(data)
        while True:
            try:
                self.parser.feed_data(unparsed)
                return
            except httptools.HttpParserUpgrade as asked:
                unparsed = unparsed[asked.args[0] :]
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        """Return the head that has just been parsed, but for all headers `Upgrade`."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Note that a head has begun, and start its time limit; that of the first request runs since the connection."""
        self.head_has_begun = True
        if self.head_deadline is None:
            self.head_deadline = self.loop.time() + HEAD_SECONDS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End the time limit for the head; raise ValueError, which makes httptools fail, if the method is CONNECT.

        CONNECT asks for a tunnel, so that a body cannot be told from data for the tunnel. If the head asks for another
        protocol, do nothing: _parse() has it parsed again.
        """
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT is not supported")
        if self.parser.should_upgrade():
            return
        self.in_head, self.head_has_begun, self.head_deadline = False, False, None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass the body on, without counting it towards MAX_FRAMING_BYTES."""
        self.framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request: its size no longer counts, and a head is expected.

        Do nothing if the request asks for another protocol: only its head has been parsed, and will be parsed again.
        """
        if self.parser.should_upgrade():
            return
        self.framing_bytes, self.in_head = 0, True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note the end of a response: idle time counts from now."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def close_if_head_is_late(self, now: float) -> None:
        """Close the connection if the head that it is waiting for is late; `now` is the event loop's time.

        If a part of the head has arrived, the problem `request-timeout` (408) is sent first. Do nothing while an
        earlier request is being answered, or between two requests: the time limit of a later head starts when its first
        bytes arrive.
        """
        late = self.head_deadline is not None and now > self.head_deadline
        if late and self.is_idle and not self.transport.is_closing():
            if self.head_has_begun:
                self.send_problem("request-timeout")
            else:
                self.transport.close()

    def shutdown(self) -> None:
        """Close the connection, or, if a request has arrived at least in part, make its response the last one.

        The bytes of the request may still be in the kernel's buffer; closing the connection would then reset it. To be
        called until the connection has ended.
        """
        if not self.transport.is_closing() and not self.head_has_begun and not self._has_unread_bytes():
            super().shutdown()

    def _has_unread_bytes(self) -> bool:
        """Return whether the kernel has received bytes that data_received() has not been given yet."""
        count = array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
        return bool(count[0])

    def send_400_response(self, msg: str) -> None:
        """Send a problem instead of uvicorn's plain text (see send_problem); ignore `msg`.

        It is `headers-too-large` (431) if the address has more than MAX_ADDRESS_BYTES, else `bad-request` (400).
        """
        self.send_problem("headers-too-large" if len(self.url) > MAX_ADDRESS_BYTES else "bad-request")

    def send_problem(self, slug: str) -> None:
        """Send a problem response for something that cannot be parsed as a request, and close the connection.

        `slug` is a key of PROBLEMS, which has the status. If an earlier request has not been answered completely, or
        the response to this one has begun, abort the connection without sending anything.
        """
        if not self.is_idle and (self.pipeline or self.cycle.response_started or not self.cycle.more_body):
            self.transport.abort()
            return
        request_id = secrets.token_hex(16)
        response = problem_response(
            {"path": "/", "state": {"request_id": request_id}}, slug, headers={"Connection": "close"}
        )
        headers = response.raw_headers + common_headers(response.raw_headers, request_id)
        lines = [b"HTTP/1.1 %d %s" % (response.status_code, HTTPStatus(response.status_code).phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
