"""Versions for optimistic locking: callers say which version of an object their change is meant for."""

from collections.abc import Collection

from domain.errors import Stale

ExpectedVersions = Collection[int] | None
"""The versions that the caller accepts, or None to accept any version."""


class Unversioned(Stale):
    """The caller's change is meant for a version of an object whose versions nobody is told."""

    def __init__(self, kind: str) -> None:
        super().__init__("version-mismatch", f"{kind} has no version to compare with; leave the expected one out")


def check_version(version: int, expected: ExpectedVersions) -> None:
    """Raise Stale `version-mismatch` if `expected` is given and does not contain the version."""
    if expected is not None and version not in expected:
        raise Stale("version-mismatch", "it has changed since; read it again")
