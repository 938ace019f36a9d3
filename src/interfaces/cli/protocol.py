"""HTTP as uvicorn speaks it, with an end to what a request may have besides its body: uvicorn sets none."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_FRAME = 512 * 1024
"""Bytes of the address, headers, chunk sizes and trailers, all of which are kept until the request is complete."""
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    frame = 0
    in_head = True

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
