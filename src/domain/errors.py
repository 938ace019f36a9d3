"""The kinds of errors that business rules raise.

The class says what kind of error it is. The code names the rule that was broken; API clients rely on codes, so a code
never changes its meaning.
"""

from typing import TypeVar

E = TypeVar("E")


class DomainError(Exception):
    """Base class of all errors that business rules raise.

    `code` names the broken rule, such as `item-not-found`, and `detail` is a text that may be shown to the caller.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class NotFound(DomainError):
    """The requested object does not exist, or the caller may not know that it exists."""


class Unauthenticated(DomainError):
    """The caller could not be identified: no valid token or password was sent, or the account is not active."""


class Forbidden(DomainError):
    """The caller is known, but not allowed to do this."""


class Conflict(DomainError):
    """The request is valid in itself, but does not fit the current state of the store."""


class Stale(DomainError):
    """The caller's change is meant for an older version than the one that is stored."""


class Invalid(DomainError):
    """The input is invalid. `field` names the input field at fault, or is None if it is no single field."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(code, detail)
        self.field = field


def not_found(kind: str) -> NotFound:
    """Return the error NotFound `{kind}-not-found`, such as `item-not-found`."""
    return NotFound(f"{kind}-not-found", f"there is no such {kind}")


def require(found: E | None, kind: str) -> E:
    """Return what was found; raise NotFound `{kind}-not-found` if that is None."""
    if found is None:
        raise not_found(kind)
    return found
