"""What an engine's errors mean to the application, as far as both engines agree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from application.errors import Busy, TryAgain, Unavailable
from domain.errors import Conflict

Meaning = Callable[[Exception], Exception]
"""The application's error for an engine's, or that itself where it is nothing that the application expects."""

REFUSALS: dict[str, Callable[[], Exception]] = {
    "uq_users_email": lambda: Conflict("email-taken", "an account with this e-mail address exists"),
    "uq_users_username": lambda: Conflict("username-taken", "an account with this username exists"),
    "uq_transfers_item_id_number": lambda: TryAgain("the item has a transfer of this number"),
}
"""By the constraint that is violated. None of them says by which value."""


class ConnectionLost(Unavailable):
    """The connection ended under a statement."""


class LockNotHad(TryAgain):
    """The time for a lock ran out."""


class SchemaMissing(Unavailable):
    """A table or column is not there."""


def driver_error(error: Exception) -> Exception:
    return error.driver_exception if isinstance(error, DBAPIError) and error.orig is not None else error


@contextmanager
def translated(meaning: Meaning) -> Iterator[None]:
    """Without the cause: PostgreSQL's repeats the values of the row."""
    try:
        yield
    except PoolTimeout:
        raise Busy("all connections to the store are in use") from None
    except (SQLAlchemyError, OSError) as error:
        raise meaning(error) from None
