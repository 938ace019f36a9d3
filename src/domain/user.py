"""Users, who own items and transfer them."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, Self
from uuid import UUID

from domain.common_passwords import is_common
from domain.errors import Conflict, Invalid, Unauthenticated
from domain.text import checked_text, normalize_identifier
from domain.version import ExpectedVersions, Unversioned

UserId = NewType("UserId", UUID)

MAX_EMAIL_LENGTH = 254
_UNSEEN = (
    r"\u0000- \u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb"
)
EMAIL_PATTERN = rf"^[^{_UNSEEN}]+@[^@{_UNSEEN}]+$"
"""Any text with an at sign inside it, except for white space, control characters and invisible characters."""
USERNAME_PATTERN = r"^[A-Za-z0-9_.-]{3,50}$"
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 128


@dataclass(slots=True, kw_only=True)
class User:
    """A user account. An inactive one can neither sign in nor receive items.

    `version` grows by one with every call of change(), activate() and deactivate().
    """

    id: UserId
    email: str
    username: str
    password_hash: str
    is_active: bool = True
    created_at: datetime
    version: int = 1

    @classmethod
    def sign_up(cls, *, id: UserId, email: str, username: str, password_hash: str, at: datetime) -> Self:
        """Create an active user; raise Invalid if the e-mail address or username is not valid."""
        return cls(
            id=id,
            email=checked_email(email),
            username=checked_username(username),
            password_hash=password_hash,
            created_at=at,
        )

    def change(self, *, email: str | None = None, password_hash: str | None = None) -> None:
        """Set the e-mail address or password hash, or both; None leaves a field as it is.

        The version grows by one even if nothing is different. Raise Invalid if the e-mail address is not valid.
        """
        self.email = self.email if email is None else checked_email(email)
        self.password_hash = password_hash or self.password_hash
        self.version += 1

    def activate(self) -> None:
        """Let the user sign in and act again."""
        self.is_active = True
        self.version += 1

    def deactivate(self) -> None:
        """Stop the user from signing in and acting."""
        self.is_active = False
        self.version += 1


def checked_email(email: str) -> str:
    """Return the e-mail address as normalize_identifier() returns it; white space at its ends is not removed.

    Raise Invalid `invalid-email` if that does not match EMAIL_PATTERN, `invalid-text` if it is longer than
    MAX_EMAIL_LENGTH or cannot be stored.
    """
    email = normalize_identifier(checked_text("email", email, max_length=MAX_EMAIL_LENGTH))
    if not re.fullmatch(EMAIL_PATTERN, email):
        raise Invalid("invalid-email", "not an e-mail address", "email")
    return checked_text("email", email, max_length=MAX_EMAIL_LENGTH)  # again: folding case can make it longer


def checked_username(username: str) -> str:
    """Return the username in lower case.

    Raise Invalid `invalid-username` unless it has 3 to 50 ASCII letters, digits, `_`, `.` and `-`.
    """
    if not re.fullmatch(USERNAME_PATTERN, username):
        raise Invalid("invalid-username", "3 to 50 of ASCII letters, digits, '_', '.' and '-'", "username")
    return normalize_identifier(username)


def checked_password(password: str) -> str:
    """Return the password unchanged.

    Raise Invalid `invalid-password` unless it has MIN_PASSWORD_LENGTH to MAX_PASSWORD_LENGTH characters, `invalid-text`
    if it has NUL characters or lone surrogates, `common-password` if attackers would try it early.
    """
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise Invalid("invalid-password", f"{MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters", "password")
    checked_text("password", password, max_length=MAX_PASSWORD_LENGTH)
    if is_common(password):
        raise Invalid("common-password", "one of those that are tried first; choose another", "password")
    return password


def require_active(user: User | None) -> User:
    """Return the user; raise Unauthenticated `account-inactive` if it is None or not active.

    Every change checks this, because an access token stays valid for minutes after its account was deactivated or
    deleted.
    """
    if user is None or not user.is_active:
        raise Unauthenticated("account-inactive", "the account that signed in is no longer active")
    return user


def check_expects_no_version(expected: ExpectedVersions) -> None:
    """Raise Unversioned `version-mismatch` unless any version is accepted.

    Nobody is told the version of an account, so no caller can know the one that is stored.
    """
    if expected is not None:
        raise Unversioned("an account")


def email_taken() -> Conflict:
    """Return the error Conflict `email-taken`, for an e-mail address that another user has."""
    return Conflict("email-taken", "an account with this e-mail address exists")


def username_taken() -> Conflict:
    """Return the error Conflict `username-taken`, for a username that another user has."""
    return Conflict("username-taken", "an account with this username exists")


def user_owns_items() -> Conflict:
    """Return the error Conflict `user-owns-items`, for removing a user who owns items."""
    return Conflict("user-owns-items", "an account that owns items cannot be deleted; transfer or delete them first")
