"""Answers of our own data: made as bytes once, and not validated a second time."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from fastapi import Response
from pydantic_core import to_json

REPLAYED = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    etag: str | None = None
    location: str | None = None

    def encode(self) -> bytes:
        """All of it as bytes, so that it can be kept and given again as it was."""
        return json.dumps([self.status, self.etag, self.location]).encode() + b"\n" + self.body

    @classmethod
    def decode(cls, kept: bytes) -> Self:
        head, _, body = kept.partition(b"\n")
        status, etag, location = json.loads(head)
        return cls(status, body, etag, location)

    def response(self, *, replayed: bool = False) -> Response:
        headers = {"Content-Type": "application/json"}
        if self.etag:
            headers["ETag"] = self.etag
        if self.location:
            headers["Location"] = self.location
        if replayed:
            headers[REPLAYED] = "true"
        return Response(self.body, self.status, headers)


def answer(
    content: dict[str, Any], status: int = 200, *, etag: str | None = None, location: str | None = None
) -> Answer:
    return Answer(status, to_json(content), etag, location)


def timestamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
