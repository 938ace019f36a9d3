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
                yield full_name
            elif not _accepts(method, declared):
                yield f"{full_name}{_arguments(declared)} with these arguments"


def _gaps_of_attribute(full_name: str, value: object, expected: type) -> Iterator[str]:
    """Yield the name of an attribute that is missing or of another class than expected, or else its own gaps."""
    if value is None:
        yield full_name
    elif Protocol in expected.__mro__:
        yield from gaps(expected, value)
    elif not isinstance(value, expected):
        yield f"{full_name} of the class {expected.__name__}"


def _accepts(method: Callable[..., Any], declared: Callable[..., Any]) -> bool:
    """Whether the method can be called with the declared one's arguments; positional ones may have other names."""
    parameters = [*inspect.signature(declared).parameters.values()][1:]
    named = {parameter.name: None for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    try:
        inspect.signature(method).bind(*[None] * (len(parameters) - len(named)), **named)
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
            found.append(f"Store.begin, which raises {described(error)}")
    if found:
        raise incomplete(adapter, found)


def incomplete(adapter: str, found: list[str]) -> Misconfigured:
    """Return the error that says what an adapter lacks, and where to read what each method has to do."""
    return Misconfigured(
        f"the adapter {adapter} is not complete, it lacks {', '.join(found)}; what each one does is in the modules"
        " ports, readers, streaming and store of the package application"
    )
