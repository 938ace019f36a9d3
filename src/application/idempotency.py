"""Requests with an idempotency key: they take effect once, however often they are sent.

The interface sets the current request with `idempotent()`. The transaction boundary (`application.transact`) stores its
key and answer in the same transaction as its effect. Decision 0001 says why use cases do not pass the key on.
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
    """A request that is to take effect once.

    `fingerprint` identifies the content of the request: the same key with another fingerprint is an error. `render`
    turns the result of the work into the answer. It runs inside the transaction, so that the stored answer and the sent
    answer are the same bytes.
    """

    key: KeyId
    fingerprint: bytes
    render: Callable[[Any], bytes]
    answer: bytes | None = None
    """The stored answer. Set before the commit, so only valid once the transaction boundary has returned."""


class Replay(Exception):
    """Raised instead of running the work when the key has been used before. `answer` is the answer stored then."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("replay")
        self.answer = answer


_current: ContextVar[IdempotentRequest | None] = ContextVar("idempotent_request", default=None)


@contextmanager
def idempotent(request: IdempotentRequest) -> Iterator[None]:
    """Make this the current request for all units of work that run inside the `with` block."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def current_request() -> IdempotentRequest | None:
    """Return the request that idempotent() has set, or None if the running request has no idempotency key."""
    return _current.get()
