"""What an adapter lacks of the ports, which can be seen before any test is run."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Protocol, get_type_hints

from application.errors import Unavailable
from application.ports import UnitOfWork
from application.store import Store
from infrastructure.container import Misconfigured, described
from interfaces.certification.overlapping import LIMIT


def gaps(port: type, part: object) -> Iterator[str]:
    """Yield what `part` lacks of a port, which is a protocol, and what its attributes lack of theirs.

    A method is lacking if it is not there, or if it cannot be called with the arguments that the port's method has.
    """
    for name, declared in vars(port).items():
        full_name = port.__name__ if name == "__call__" else f"{port.__name__}.{name}"
        if isinstance(declared, property):
            yield from _gaps_of_attribute(full_name, getattr(part, name, None), get_type_hints(declared.fget)["return"])
        elif inspect.isfunction(declared) and (name == "__call__" or not name.startswith("_")):
            method = part if name == "__call__" else getattr(part, name, None)
            if not callable(method):
                yield f"{full_name} is missing"
            elif not _accepts(method, declared):
                yield f"{full_name} does not accept the arguments {_arguments(declared)}"


def _gaps_of_attribute(full_name: str, value: object, expected: type) -> Iterator[str]:
    """Yield that an attribute is missing or of another class than expected, or else its own gaps."""
    if value is None:
        yield f"{full_name} is missing"
    elif Protocol in expected.__mro__:
        yield from gaps(expected, value)
    elif not isinstance(value, expected):
        yield f"{full_name} is not of the class {expected.__name__}"


def _accepts(method: Callable[..., Any], declared: Callable[..., Any]) -> bool:
    """Whether the method can be called with the declared one's arguments; positional ones may have other names."""
    positional, named = 0, dict[str, None]()
    for parameter in [*inspect.signature(declared).parameters.values()][1:]:
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = None
        else:
            positional += 2 if parameter.kind is parameter.VAR_POSITIONAL else 1
    try:
        inspect.signature(method).bind(*[None] * positional, **named)
    except TypeError:
        return False
    except ValueError:  # it is written in C, and does not say
        return True
    return True


def _arguments(declared: Callable[..., Any]) -> str:
    """Return the names of a method's arguments in parentheses, those that are passed by keyword with `=`."""
    parameters = [*inspect.signature(declared).parameters.values()][1:]
    names = [f"{one.name}=" if one.kind is one.KEYWORD_ONLY else str(one).partition(":")[0] for one in parameters]
    return f"({', '.join(names)})"


async def check_complete(store: Store, adapter: str) -> None:
    """Raise Misconfigured, with all gaps in one line, unless the open store and its units of work fulfil their ports.

    A unit of work is begun and left. Raise Unavailable if the store is.
    """
    found = [*gaps(Store, store)]
    if callable(getattr(store, "begin", None)):
        try:
            async with asyncio.timeout(LIMIT), store.begin() as uow:
                found += gaps(UnitOfWork, uow)
        except Unavailable:
            raise
        except Exception as error:
            found.append(f"Store.begin raises {described(error)}")
    if found:
        raise incomplete(adapter, found)


def incomplete(adapter: str, found: list[str]) -> Misconfigured:
    """Return the error that says what an adapter lacks, and where to read what each method has to do."""
    return Misconfigured(
        f"the adapter {adapter} is not complete: {', '.join(found)}; what each one has to do is said in the modules"
        " store, ports, readers and streaming of the package application"
    )
