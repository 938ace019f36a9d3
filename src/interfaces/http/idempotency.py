"""Retrying safely: a request with an Idempotency-Key takes effect once, and is answered the same each time."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from application.idempotency import IdempotentRequest, Replay, idempotent
from application.ports import KeyId
from domain.errors import Invalid
from domain.user import UserId
from interfaces.http.responses.answers import Answer
from interfaces.http.routing.auth import caller_of

T = TypeVar("T")

HEADER = "Idempotency-Key"
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class OncePerKey:
    """Runs a route's use case, under the request's key if it has one."""

    request: Request
    caller: UserId
    key: str | None

    async def __call__(self, work: Awaitable[T], *, answer: Callable[[T], Answer], body: BaseModel) -> Response:
        if self.key is None:
            return answer(await work).response()
        once = IdempotentRequest(
            self._key_id(self.key), self._fingerprint(body), lambda result: answer(result).encode()
        )
        with idempotent(once):
            try:
                await work
            except Replay as replay:
                return Answer.decode(replay.answer).response(replayed=True)
        assert once.answer is not None  # noqa: S101 - committed work has left its answer
        return Answer.decode(once.answer).response()

    def _key_id(self, key: str) -> KeyId:
        return KeyId(self.caller, f"{self.request.method} {self.request.scope['route'].path_format}", key)

    def _fingerprint(self, body: BaseModel) -> bytes:
        """Of what the request means, not of how it is spelt; If-Match as sent, since a retry sends the same."""
        meaning = [
            sorted(self.request.path_params.items()),
            body.model_dump(mode="json"),
            self.request.headers.getlist("if-match"),
        ]
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).digest()


async def once_per_key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="1 to 255 printable ASCII characters. The same request with the same key is answered as the"
            " first one was, for 24 hours, and has no second effect.",
            examples=["8f0b7c1e-transfer-1"],
            json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        ),
    ] = None,
) -> OncePerKey:
    if key is not None and not _PRINTABLE.fullmatch(key):
        raise Invalid("invalid-request", "1 to 255 printable ASCII characters", HEADER)
    return OncePerKey(request, caller_of(request), key)


Retry = Annotated[OncePerKey, Depends(once_per_key)]
