"""What MongoDB's errors mean to the application: told by class, code and label, never by the text."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from application.errors import Busy, NoSpace, TryAgain, Unavailable
from domain.errors import Conflict

WRITE_CONFLICT = 112
OUT_OF_DISK_SPACE = 14031
REFUSALS = {13, 18, 8000}
"""Unauthorized, AuthenticationFailed, and what Atlas says instead."""


class WriteConflict(TryAgain):
    """Another transaction has written, and not yet ended, what this one would write."""


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        meaning = _duplicate(error) if isinstance(error, DuplicateKeyError) else _meaning_of(error)
        if meaning is None:
            raise
        raise meaning from error


def _duplicate(error: DuplicateKeyError) -> Exception | None:
    match [*(error.details or {}).get("keyPattern", {})]:
        case ["email"]:
            return Conflict("email-taken", "an account with this e-mail address exists")
        case ["username"]:
            return Conflict("username-taken", "an account with this username exists")
        case ["item_id", "number"]:
            return TryAgain("the item has a transfer of this number")
    return None


def _meaning_of(error: PyMongoError) -> Exception | None:
    meaning: Exception | None = None
    match error:
        case WaitQueueTimeoutError():
            meaning = Busy("all connections to MongoDB are in use")
        case ServerSelectionTimeoutError() | NetworkTimeout():
            meaning = Unavailable("MongoDB does not answer")
        case OperationFailure(code=code) if code == WRITE_CONFLICT:
            meaning = WriteConflict("another unit of work was first")
        case OperationFailure(code=code) if code == OUT_OF_DISK_SPACE:
            meaning = NoSpace("MongoDB has no disk space left: free some")
        case _ if error.has_error_label("TransientTransactionError"):
            meaning = TryAgain("MongoDB has given the transaction up")
        case ExecutionTimeout():
            meaning = Busy("MongoDB did not finish in time")
        case ConnectionFailure():
            meaning = Unavailable("the connection to MongoDB was lost")
        case OperationFailure(code=code) if code in REFUSALS:
            meaning = Unavailable(
                "MongoDB refuses the user or the password of HANDOVER_DATABASE_URL, or what it is to do"
            )
        case ConfigurationError():
            meaning = Unavailable("HANDOVER_DATABASE_URL does not name a MongoDB server that can be used")
    return meaning
