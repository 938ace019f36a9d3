"""The application's errors for errors of MongoDB, recognized by class, code and label, never by their text."""

import re
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
from domain.user import email_taken, username_taken

WRITE_CONFLICT = 112
QUERY_PLAN_KILLED = 175
"""An index or collection was dropped while a query used it."""
OUT_OF_DISK_SPACE = 14031
NOT_AUTHORIZED = {13, 18, 8000}
"""The codes of Unauthorized, AuthenticationFailed, and the error that Atlas sends instead."""


class WriteConflict(TryAgain):
    """Another transaction has written the same document.

    It has not ended, or it was committed after this transaction's first statement had fixed the snapshot.
    """


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn driver errors of the block into the application's errors.

    A taken e-mail address or username becomes Conflict; a conflict of transactions, or one that the server has given
    up, TryAgain; a full connection pool or the server's own time limit Busy; a full disk NoSpace; a server that does
    not answer or refuses the user Unavailable. Unknown driver errors, and errors that are not the driver's, pass
    unchanged.
    """
    try:
        yield
    except PyMongoError as error:
        translated = _duplicate_key_error(error) if isinstance(error, DuplicateKeyError) else _classify(error)
        if translated is None:
            raise
        raise translated from error


def why_not_selected(error: ServerSelectionTimeoutError) -> str:
    """Return why no server could be used: the error of each, such as `db:27017: [Errno 111] Connection refused`.

    The driver's text goes on with its settings and its view of the servers, which is left out.
    """
    causes = str(error).partition(", Timeout: ")[0]
    return " ".join(re.sub(r" \(configured timeouts: [^)]*\)", "", causes).split())


def _duplicate_key_error(error: DuplicateKeyError) -> Exception | None:
    """Return the error for a violated unique index, or None if the index has no error of its own.

    It is Conflict `email-taken` or `username-taken`, or TryAgain for the number of a transfer.
    """
    match [*(error.details or {}).get("keyPattern", {})]:
        case ["email"]:
            return email_taken()
        case ["username"]:
            return username_taken()
        case ["item_id", "number"]:
            return TryAgain("the item has a transfer of this number")
    return None


def _classify(error: PyMongoError) -> Exception | None:
    """Return the application's error (TryAgain, Unavailable, Busy or NoSpace); None if the driver's is not a known one.

    TryAgain is WriteConflict for code 112. Busy is for a full connection pool and for the server's own time limit.
    """
    translated: Exception | None = None
    match error:
        case WaitQueueTimeoutError():
            translated = Busy("all connections to MongoDB are in use")
        case ServerSelectionTimeoutError():
            # A server that has reached its limit of connections closes each new one without a word.
            translated = Unavailable(
                f"MongoDB does not answer ({why_not_selected(error)}): is it running, and has it connections left"
                " (net.maxIncomingConnections)?"
            )
        case NetworkTimeout():
            translated = Unavailable("MongoDB does not answer")
        case OperationFailure(code=code) if code == WRITE_CONFLICT:
            translated = WriteConflict("another unit of work was first")
        case OperationFailure(code=code) if code == QUERY_PLAN_KILLED:
            translated = TryAgain("the schema of the database was changed meanwhile")
        case OperationFailure(code=code) if code == OUT_OF_DISK_SPACE:
            translated = NoSpace("MongoDB has no disk space left: free some")
        case _ if error.has_error_label("TransientTransactionError"):
            translated = TryAgain("MongoDB has given the transaction up")
        case ExecutionTimeout():
            translated = Busy("MongoDB did not finish in time")
        case ConnectionFailure():
            translated = Unavailable("the connection to MongoDB was lost")
        case OperationFailure(code=code) if code in NOT_AUTHORIZED:
            translated = Unavailable(
                "MongoDB refuses the user or the password of HANDOVER_DATABASE_URL, or what it is to do"
            )
        case ConfigurationError():
            translated = Unavailable("HANDOVER_DATABASE_URL does not name a MongoDB server that can be used")
    return translated
