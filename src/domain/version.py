"""Versions for optimistic locking: callers say which version of an object their change is meant for."""

from collections.abc import Collection

from domain.errors import Stale

ExpectedVersions = Collection[int] | None
"""The versions that the caller accepts, or None to accept any version."""


def check_version(version: int, expected: ExpectedVersions) -> None:
    """Raise Stale `version-mismatch` if `expected` is given and does not contain the version."""
    if expected is not None and version not in expected:
        raise Stale("version-mismatch", "it has changed since; read it again")
