"""Users: who can own items and hand them over."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, Self
from uuid import UUID

from domain.common_passwords import is_common
from domain.errors import Invalid, Unauthenticated
from domain.text import caseless, checked_text

UserId = NewType("UserId", UUID)

EMAIL_LENGTH = 254
_UNSEEN = (
    r"\u0000- \u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb"
)
EMAIL_PATTERN = rf"^[^{_UNSEEN}]+@[^@{_UNSEEN}]+$"
"""Anything on both sides of an at sign, but for white space, control characters and invisible ones."""
USERNAME_PATTERN = r"^[A-Za-z0-9_.-]{3,50}$"
PASSWORD_LENGTHS = 8, 128


@dataclass(slots=True, kw_only=True)
class User:
    """Somebody with a name, a password and perhaps some items."""

    id: UserId
    email: str
    username: str
    password_hash: str
    is_active: bool = True
    created_at: datetime
    version: int = 1

    @classmethod
    def sign_up(cls, *, id: UserId, email: str, username: str, password_hash: str, at: datetime) -> Self:
        return cls(
            id=id,
            email=checked_email(email),
            username=checked_username(username),
            password_hash=password_hash,
            created_at=at,
        )

    def change(self, *, email: str | None = None, password_hash: str | None = None) -> None:
        self.email = self.email if email is None else checked_email(email)
        self.password_hash = password_hash or self.password_hash
        self.version += 1

    def activate(self) -> None:
        self.is_active = True
        self.version += 1

    def deactivate(self) -> None:
        self.is_active = False
        self.version += 1


def checked_email(email: str) -> str:
    email = caseless(checked_text("email", email, at_most=EMAIL_LENGTH))
    if not re.fullmatch(EMAIL_PATTERN, email):
        raise Invalid("invalid-email", "not an e-mail address", "email")
    return checked_text("email", email, at_most=EMAIL_LENGTH)  # again: folding case can make it longer


def checked_username(username: str) -> str:
    if not re.fullmatch(USERNAME_PATTERN, username):
        raise Invalid("invalid-username", "3 to 50 of ASCII letters, digits, '_', '.' and '-'", "username")
    return caseless(username)


def checked_password(password: str) -> str:
    shortest, longest = PASSWORD_LENGTHS
    if not shortest <= len(password) <= longest:
        raise Invalid("invalid-password", f"{shortest} to {longest} characters", "password")
    checked_text("password", password, at_most=longest)
    if is_common(password):
        raise Invalid("common-password", "one of those that are tried first; choose another", "password")
    return password


def acting(user: User | None) -> User:
    """Whoever writes must exist and be active at that moment, however good their token is."""
    if user is None or not user.is_active:
        raise Unauthenticated("account-inactive", "the account that signed in is no longer active")
    return user
