"""What both SQL engines have in common when driver errors are turned into errors of the application."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from application.errors import TryAgain, Unavailable
from domain.user import email_taken, username_taken

Classify = Callable[[Exception], Exception]
"""Returns the application's error for a driver's error, or the same error if it is not a database error."""


TOO_MANY_FILES = "the limit of open files is reached: raise it (ulimit -n), or lower HANDOVER_POOL_SIZE"


def is_too_many_files(error: BaseException | None) -> bool:
    """Return whether the operating system has refused to open a file or socket because too many are open."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


class ConnectionLost(Unavailable):
    """The connection had ended before a statement was sent, or it ended while the statement was running.

    Nobody knows whether the statement has taken effect, so only what is safe to repeat may be repeated.
    """


class LockTimeout(TryAgain):
    """A lock was not obtained in time."""


class SchemaMissing(Unavailable):
    """A table or column does not exist."""


class UnexpectedDriverError(Exception):
    """A database error that the application does not know.

    It replaces the driver's own error, whose message may contain values of a row.
    """


class ConstraintViolated(UnexpectedDriverError):
    """A statement violated a constraint that has no error of the application assigned."""


CONSTRAINT_ERRORS: dict[str, Callable[[], Exception]] = {
    "uq_users_email": email_taken,
    "uq_users_username": username_taken,
    "uq_transfers_item_id_number": lambda: TryAgain("the item has a transfer of this number"),
}
"""The application's error for the violation of a constraint, by the constraint's name."""


def constraint_error(constraint: str, message: str) -> Exception:
    """Return the error that CONSTRAINT_ERRORS has for this constraint, or ConstraintViolated with this message."""
    return CONSTRAINT_ERRORS[constraint]() if constraint in CONSTRAINT_ERRORS else ConstraintViolated(message)


def unwrap_driver_error(error: Exception) -> Exception:
    """Return the driver's error that SQLAlchemy has wrapped, or the error itself if it is not wrapped."""
    driver_error: Exception = getattr(error, "driver_exception", error)
    return driver_error


@contextmanager
def translate_errors(classify: Classify) -> Iterator[None]:
    """Raise what `classify` returns in place of every Exception raised inside the `with` block.

    CancelledError is not an Exception, and passes unchanged.
    """
    try:
        yield
    except Exception as error:
        raise classify(error) from None
