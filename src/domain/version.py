"""Versions: how a caller says which state of a thing their change is meant for."""

from collections.abc import Collection

from domain.errors import Stale

Expected = Collection[int] | None
"""The versions that the caller would have: any of these, or None for whatever there is."""


def expect(version: int, expected: Expected) -> None:
    if expected is not None and version not in expected:
        raise Stale("version-mismatch", "it has changed since; read it again")
