"""Errors below the business rules: adapters raise them, and the transaction boundary retries or passes them on."""

from domain.errors import Conflict, Invalid


class TryAgain(Exception):
    """A concurrent unit of work got in the way. Nothing of this unit of work was stored, and it may be run again.

    Adapters raise it for everything that concurrency causes: serialization failures, deadlocks, write conflicts, a
    versioned update that matches no row, a lock that was not obtained in time.
    """


class KeyInFlight(TryAgain):
    """Another unit of work has claimed the same idempotency key, and its answer cannot be read yet.

    It has not ended, has given the key up, or is not durable yet. The claim may be tried again.
    """


class OutcomeUnknown(Exception):
    """The connection was lost during the commit, which may or may not have taken effect."""


class Unavailable(Exception):
    """The store, or the server itself, cannot be used now. The message is one line that says why, without secrets."""


class NoSpace(Unavailable):
    """The store has no disk space left for the changes of a unit of work. None of them is stored; reads still work."""


class Busy(Unavailable):
    """The server is overloaded: the store, the password hasher or a queue for it did not become free in time.

    The password hasher raises this at once if too many calls are waiting for it already.
    """


class KeyReused(Invalid):
    """The idempotency key was used before for a request with other content. The code is `idempotency-key-reused`."""

    def __init__(self) -> None:
        super().__init__("idempotency-key-reused", "this key was sent before with another request", "Idempotency-Key")


class RequestInProgress(Conflict):
    """An earlier request with the same idempotency key did not end within the time that this one waits for it."""

    def __init__(self) -> None:
        super().__init__("request-in-progress", "the first request with this key has not ended yet")
