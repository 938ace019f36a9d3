"""What an engine's errors mean to the application, as far as both engines agree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from application.errors import TryAgain, Unavailable
from domain.errors import Conflict

Meaning = Callable[[Exception], Exception]
"""The application's error for an engine's."""


class ConnectionLost(Unavailable):
    """The connection ended under a statement."""


class LockNotHad(TryAgain):
    """The time for a lock ran out."""


class SchemaMissing(Unavailable):
    """A table or column is not there."""


class Unexpected(Exception):
    """An error that means nothing to the application. It stands for the driver's, which may repeat the row's values."""


class Violated(Unexpected):
    """A constraint was violated that no refusal is known for."""


REFUSALS: dict[str, Callable[[], Exception]] = {
    "uq_users_email": lambda: Conflict("email-taken", "an account with this e-mail address exists"),
    "uq_users_username": lambda: Conflict("username-taken", "an account with this username exists"),
    "uq_transfers_item_id_number": lambda: TryAgain("the item has a transfer of this number"),
}


def refusal(constraint: str, message: str) -> Exception:
    return REFUSALS[constraint]() if constraint in REFUSALS else Violated(message)


def driver_error(error: Exception) -> Exception:
    """The driver's own, which SQLAlchemy wraps."""
    driver: Exception = getattr(error, "driver_exception", error)
    return driver


@contextmanager
def translated(meaning: Meaning) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise meaning(error) from None
