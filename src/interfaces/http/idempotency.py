"""The header Idempotency-Key: a request takes effect once, however often it is sent, and gets the same answer.

The key and the answer are stored by the transaction boundary: see application/idempotency.py.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from application.idempotency import IdempotentRequest, Replay, idempotent
from application.ports import KeyId
from domain.errors import Invalid
from domain.user import UserId
from interfaces.http.metrics import Metrics
from interfaces.http.responses.answers import Answer
from interfaces.http.routing.auth import require_caller
from interfaces.http.validation.repetition import REPEATED

T = TypeVar("T")

HEADER = "Idempotency-Key"
DESCRIPTION = """\
1 to 255 printable ASCII characters, chosen by the client, such as a UUID. Keys of different accounts, and keys of
different operations, have nothing to do with each other. If a request succeeded, the same request with the same key
gets its answer again for 24 hours, and has no second effect. A request that was refused leaves its key free: sent
again, it is judged anew. Bodies are compared by their meaning, not byte by byte; the access token may be another one.
While the first request is running, the second one waits for up to 2 seconds, then gets 409 `request-in-progress` with
`Retry-After`."""
# Clients cannot send a key with spaces at its ends, which HTTP removes; so the documented pattern has none.
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Runs a route's use case once per idempotency key; without a key it is simply run.

    A key belongs to its caller and to one operation (method and path template). `key` is None if the client has
    sent none. The object also carries the signed-in caller, so that routes need not ask for the caller separately.
    """

    request: Request
    caller: UserId
    key: str | None

    async def run(self, use_case_call: Awaitable[T], *, answer: Callable[[T], Answer], body: BaseModel) -> Response:
        """Return the response to the request, or the one that was stored with the key by an earlier request.

        Without a key, only await the use case and return its answer.

        `use_case_call` has not been awaited yet, `answer` turns its result into the answer, and `body` is the request
        body. A stored answer is marked by the header Idempotency-Replayed, and the use case has then no effect.

        An error of the use case is passed on and is not stored with the key, so the request may be sent again. Raise
        KeyReused if the key was used for a request with other content, and RequestInProgress if the first request with
        it has not ended.
        """
        if self.key is None:
            return answer(await use_case_call).response()
        idempotent_request = IdempotentRequest(
            self._key_id(self.key), self._fingerprint(body), lambda result: answer(result).encode()
        )
        with idempotent(idempotent_request):
            try:
                await use_case_call
            except Replay as replay:
                metrics: Metrics = self.request.app.state.metrics
                metrics.replays.labels(self.request.scope["route"].path_format).inc()
                return Answer.decode(replay.answer).response(replayed=True)
        assert idempotent_request.answer is not None  # noqa: S101 - the answer was stored in the committed transaction
        return Answer.decode(idempotent_request.answer).response()

    def _key_id(self, key: str) -> KeyId:
        """Return the identity of the key: the caller, the route's method and path, and the key itself."""
        return KeyId(self.caller, f"{self.request.method} {self.request.scope['route'].path_format}", key)

    def _fingerprint(self, body: BaseModel) -> bytes:
        """Return a hash of the request's content: path parameters, validated body, and If-Match as it was sent.

        Two requests with differently formatted but equal JSON, or forms of an id, have the same fingerprint.
        """
        content = [
            sorted((name, _in_usual_form(value)) for name, value in self.request.path_params.items()),
            body.model_dump(mode="json"),
            self.request.headers.getlist("if-match"),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def _in_usual_form(parameter: str) -> str:
    """Return a path parameter in the usual form of an id, in lower case, if it is an id; otherwise as it is."""
    with suppress(ValueError):
        return str(UUID(parameter))
    return parameter


async def get_idempotency(
    request: Request,
    _key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description=DESCRIPTION,
            examples=["8f0b7c1e-transfer-1"],
            json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        ),
    ] = None,
) -> Idempotency:
    """Return the Idempotency of this request, which also carries the signed-in caller.

    The parameter `_key` is there for the document only. Raise Invalid if the key is not 1 to 255 printable ASCII
    characters, or if there are two, and Unauthenticated if nobody is signed in.
    """
    keys = request.headers.getlist(HEADER)
    if len(keys) > 1:
        raise Invalid("invalid-request", REPEATED, HEADER)
    if keys and not _PRINTABLE.fullmatch(keys[0]):
        raise Invalid("invalid-request", "must have 1 to 255 printable ASCII characters", HEADER)
    return Idempotency(request, require_caller(request), keys[0] if keys else None)


WithIdempotency = Annotated[Idempotency, Depends(get_idempotency)]
