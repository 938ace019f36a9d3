"""HTTP as uvicorn speaks it, with an end to what a request may have besides its body: uvicorn sets none."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_FRAME = 512 * 1024
"""Bytes of the address, headers, chunk sizes and trailers, all of which are kept until the request is complete."""
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


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
    frame = 0
    in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        self.frame += len(data)
        super().data_received(data)
        if self.frame > LARGEST_FRAME and not self.transport.is_closing():
            if self.in_head:
                self.transport.write(TOO_LARGE)
                self.transport.close()
            else:  # an answer may be on its way, which this would garble
                self.transport.abort()

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.frame -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.frame, self.in_head = 0, True
        super().on_message_complete()
