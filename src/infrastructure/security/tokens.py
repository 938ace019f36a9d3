"""Access tokens: JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256; no other algorithm is accepted."""

import hashlib
import secrets
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import jwt
from pydantic import SecretStr

from application.ports import AccessToken
from domain.errors import Unauthenticated
from domain.user import UserId

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "handover"
KIND = "access"
LEEWAY = 30
"""Seconds by which clocks of servers may differ."""
CACHED_TOKENS = 1024
# Times are checked in verify(), against the given time; the library would use the system clock.
RULES: jwt.types.Options = {
    "require": ["exp", "iat", "nbf", "sub", "aud", "iss", "jti", "typ"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "strict_aud": True,
}


class _Claims(NamedTuple):
    """The claims of a token that verify() needs; times are seconds since 1970.

    `valid_from` is the later one of `nbf` and `iat`.
    """

    user: UserId
    valid_from: int
    valid_until: int


class JwtTokens:
    """Issues and verifies access tokens (port Tokens), which are valid for `minutes` minutes.

    Tokens are signed with `secret`; if it is None, with a new random key, so that they are valid in this process only.
    `previous` is a former key or None: tokens that were signed with it are still accepted, but no new ones are signed
    with it.
    """

    def __init__(self, *, secret: SecretStr | None, previous: SecretStr | None, minutes: int) -> None:
        # A random key and not a default one, which might be left in production.
        current = secret.get_secret_value().encode() if secret else secrets.token_bytes(32)
        former = [previous.get_secret_value().encode()] if previous else []
        self._keys = {_kid(key): key for key in [*former, current]}
        self._kid = _kid(current)
        self._lifetime = minutes * 60
        # Checking a signature costs more than the rest of a small request, and its result never changes.
        self._claims = lru_cache(CACHED_TOKENS)(self._read)

    def issue(self, user_id: UserId, at: datetime) -> AccessToken:
        """Return a new signed token for the user, valid for `minutes` from `at`, which is truncated to a second."""
        now = int(at.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "nbf": now,
            "exp": now + self._lifetime,
            "jti": secrets.token_hex(16),
            "typ": KIND,
        }
        token = jwt.encode(claims, self._keys[self._kid], ALGORITHM, headers={"kid": self._kid})
        return AccessToken(token, self._lifetime)

    def verify(self, token: str, at: datetime) -> UserId:
        """Return the user for whom the token was issued; raise Unauthenticated `invalid-token` if it is not valid.

        It is valid if one of our keys has signed it, its claims are those of our access tokens, and `at` is within its
        time, extended by LEEWAY seconds at both ends.
        """
        claims, now = self._claims(token), at.timestamp()
        if not claims.valid_from - LEEWAY <= now < claims.valid_until + LEEWAY:
            raise _invalid()
        return claims.user

    def _read(self, token: str) -> _Claims:
        """Return the claims of a token, whether or not it has expired.

        Raise Unauthenticated `invalid-token` if its signature, issuer, audience or type is not ours, or if a claim is
        missing or malformed.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, key, [ALGORITHM], RULES, audience=AUDIENCE, issuer=ISSUER)
            if claims["typ"] != KIND:
                raise _invalid()
            return _Claims(UserId(UUID(claims["sub"])), max(int(claims["nbf"]), int(claims["iat"])), int(claims["exp"]))
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError):
            raise _invalid() from None


def _kid(key: bytes) -> str:
    """Return the id of a key for the token's header: 16 hexadecimal digits of a hash, which does not reveal the key."""
    return hashlib.blake2b(key, digest_size=8, person=b"handover kid").hexdigest()


def _invalid() -> Unauthenticated:
    """Return the error `invalid-token`, for a token that is not valid or has expired."""
    return Unauthenticated(
        "invalid-token", "the access token is not valid or has expired; refresh it with POST /auth/refresh"
    )
