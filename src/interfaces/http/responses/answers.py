"""Successful JSON responses: serialized once, and stored as they are under an idempotency key."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from fastapi import Response
from pydantic_core import to_json

REPLAYED_HEADER = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON response before it is sent: status, serialized body, and the headers that depend on the result."""

    status: int
    body: bytes
    etag: str | None = None
    location: str | None = None

    def encode(self) -> bytes:
        """Return the whole answer as bytes, to be stored with an idempotency key."""
        return json.dumps([self.status, self.etag, self.location]).encode() + b"\n" + self.body

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return the answer that encode() has turned into these bytes."""
        head, _, body = encoded.partition(b"\n")
        status, etag, location = json.loads(head)
        return cls(status, body, etag, location)

    def response(self, *, replayed: bool = False) -> Response:
        """Return the answer as a response; `replayed` adds the header that marks a repeated answer."""
        headers = {"Content-Type": "application/json"}
        if self.etag:
            headers["ETag"] = self.etag
        if self.location:
            headers["Location"] = self.location
        if replayed:
            headers[REPLAYED_HEADER] = "true"
        return Response(self.body, self.status, headers)


def json_answer(
    content: dict[str, Any], status: int = 200, *, etag: str | None = None, location: str | None = None
) -> Answer:
    """Return an answer with this content as JSON, which is not validated against the route's response model."""
    return Answer(status, to_json(content), etag, location)


def format_timestamp(at: datetime) -> str:
    """Return a UTC time as RFC 3339 with milliseconds and `Z`."""
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
