"""The parts of dependency-injector that Handover uses, imported without its integrations (decision 0018).

Importing `dependency_injector.containers` imports FastAPI and Werkzeug too, if they are installed, so that the library
can inject into their handlers. Handover does not use that, and importing both takes longer than most commands do.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _not_installed(*names: str) -> Iterator[None]:
    """Let imports of these packages raise ModuleNotFoundError, unless the packages have been imported before.

    That is what Python does for None in `sys.modules`.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _not_installed("fastapi", "werkzeug"):
    from dependency_injector import containers, providers

__all__ = ["containers", "providers"]
