"""Requests with an idempotency key: they take effect once, however often they are sent.

`interfaces/http/idempotency.py` reads the header Idempotency-Key and sets the current request with `idempotent()`. The
transaction boundary (`application.transact`) stores its key and answer in the same transaction as its effect. Decision
0001 says why use cases do not pass the key on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from application.ports import KeyId

KEY_LIFETIME = timedelta(hours=24)
"""How long a repeated request gets the first answer again. After that the key may be used for a new request."""


@dataclass(slots=True)
class IdempotentRequest:
    """A request that is to take effect once, with its key.

    `fingerprint` identifies the content of the request: the same key with another fingerprint is an error. `render`
    turns the result of the work into the answer. It runs inside the transaction, so that the stored answer and the sent
    answer are the same bytes.
    """

    key: KeyId
    fingerprint: bytes
    render: Callable[[Any], bytes]
    answer: bytes | None = None
    """The stored answer, None until the work has run. It is set before the commit, so it is only valid once the
    transaction boundary has returned."""


class Replay(Exception):
    """Raised by Transact instead of running the work when the key has been used before for the same request.

    It is not a failure: `answer` is the answer that was stored then, and is to be sent again.
    """

    def __init__(self, answer: bytes) -> None:
        super().__init__("replay")
        self.answer = answer


_current: ContextVar[IdempotentRequest | None] = ContextVar("idempotent_request", default=None)


@contextmanager
def idempotent(request: IdempotentRequest) -> Iterator[None]:
    """Make this the current request, whose key Transact claims, inside the `with` block; then restore the former one.

    The block runs at most one use case that stores something: a second one would find the key used.
    """
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def current_request() -> IdempotentRequest | None:
    """Return the request that idempotent() has set, or None if the running request has no idempotency key."""
    return _current.get()
