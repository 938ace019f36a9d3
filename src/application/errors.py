"""What goes wrong below the rules: adapters raise these, and the transaction boundary decides what becomes of them."""

from domain.errors import Conflict, Invalid


class TryAgain(Exception):
    """Another unit of work got in the way. Nothing of this one is kept, and it may be run again.

    Everything that concurrency causes is this: serialization failures, deadlocks, write conflicts, a versioned update
    that hits no row, a lock that was not to be had.
    """


class KeyInFlight(TryAgain):
    """Another unit of work holds the same idempotency key and has not ended."""


class OutcomeUnknown(Exception):
    """The connection was lost during the commit: it may or may not have taken effect."""


class Unavailable(Exception):
    """The store cannot be used now; the text says why in one line, and nothing secret."""


class NoSpace(Unavailable):
    """The store has no disk space left for what a unit of work would write. Nothing of it is kept; reads go on."""


class Busy(Unavailable):
    """The store answers, but not within the time that this request has."""


class KeyReused(Invalid):
    def __init__(self) -> None:
        super().__init__("idempotency-key-reused", "this key was sent before with another request", "Idempotency-Key")


class RequestInProgress(Conflict):
    def __init__(self) -> None:
        super().__init__("request-in-progress", "the first request with this key has not ended yet")
