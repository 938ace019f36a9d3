"""The storage adapters that are installed, found by their entry points in the group `handover.persistence`."""

import importlib
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

ADAPTER_BY_SCHEME = {
    "sqlite": "sqlalchemy",
    "postgresql": "sqlalchemy",
    "mongodb": "beanie",
    "mongodb+srv": "beanie",
}
"""The adapters of URL schemes that are not called like their adapter."""

SCHEMES_BY_ADAPTER = {
    "sqlalchemy": ["sqlite", "postgresql"],
    "sqlmodel": ["sqlite", "postgresql"],
    "beanie": ["mongodb", "mongodb+srv"],
    "memory": ["memory"],
}
"""The URL schemes of our own adapters. Other adapters check the URL themselves."""

OUR_SQL_AND_MONGODB_ADAPTERS = SCHEMES_BY_ADAPTER.keys() - {"memory"}
"""Adapters whose name is not a URL scheme."""


def installed_adapters() -> dict[str, EntryPoint]:
    """Return the entry point of each installed adapter by its name."""
    return {entry.name: entry for entry in entry_points(group="handover.persistence")}


def known_schemes() -> list[str]:
    """Return the schemes that a database URL may have, without `://`.

    These are the keys of ADAPTER_BY_SCHEME, installed or not, then the sorted names of all other installed adapters
    that are not in OUR_SQL_AND_MONGODB_ADAPTERS, such as `memory`.
    """
    return [*ADAPTER_BY_SCHEME, *sorted(installed_adapters().keys() - OUR_SQL_AND_MONGODB_ADAPTERS)]


def described(error: BaseException) -> str:
    """Return a caught error of an adapter in one line: its type, its message, and the line of code that raised it."""
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    importing = "<frozen importlib", str(Path(importlib.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first one is where it was caught
    places = [frame for frame in frames if not frame.filename.startswith(importing)]
    if isinstance(error, SyntaxError) or not places:  # its message has the place
        return text
    return f"{text} ({Path(places[-1].filename).name}, line {places[-1].lineno})"
