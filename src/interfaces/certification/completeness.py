"""What an adapter lacks of the ports, which can be seen before any test is run."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

from application.errors import Unavailable
from application.ports import UnitOfWork
from application.store import Capabilities, Store
from infrastructure.container import Misconfigured, described
from interfaces.certification.overlapping import LIMIT


def gaps(port: type, part: object) -> Iterator[str]:
    """Yield what `part` lacks of a port, which is a protocol, and what its attributes lack of theirs.

    A method is lacking if it is not there, if it cannot be called with the arguments that the port's method has, or if
    it is a coroutine function and that of the port is none. For the reverse, see plain_methods().
    """
    for name, declared in vars(port).items():
        full_name = _full_name(port, name)
        if isinstance(declared, property):
            yield from _gaps_of_attribute(full_name, getattr(part, name, None), get_type_hints(declared.fget)["return"])
        elif _is_method(name, declared):
            method = _method(part, name)
            if not callable(method):
                yield f"{full_name} is missing"
            elif not _accepts(method, declared):
                yield f"{full_name} does not accept the arguments {_arguments(declared)}"
            elif inspect.iscoroutinefunction(method) and not inspect.iscoroutinefunction(declared):
                yield f"{full_name} must not be `async def`"


def plain_methods(port: type, part: object) -> Iterator[str]:
    """Yield the names of those methods of `part` and its attributes that are `def`, and `async def` in the port.

    Such a method is right if it returns an awaitable, which cannot be seen before it is called. What is missing is left
    out.
    """
    for name, declared in vars(port).items():
        if isinstance(declared, property):
            expected, value = get_type_hints(declared.fget)["return"], getattr(part, name, None)
            if value is not None and Protocol in expected.__mro__:
                yield from plain_methods(expected, value)
        elif _is_method(name, declared) and inspect.iscoroutinefunction(declared):
            method = _method(part, name)
            if callable(method) and not inspect.iscoroutinefunction(method):
                yield _full_name(port, name)


def _full_name(port: type, name: str) -> str:
    """Return the name of a port's method or attribute for messages, such as `Store.open` or `Begin`."""
    return port.__name__ if name == "__call__" else f"{port.__name__}.{name}"


def _is_method(name: str, declared: object) -> bool:
    """Whether this attribute of a protocol is a method that an adapter has to have."""
    return inspect.isfunction(declared) and (name == "__call__" or not name.startswith("_"))


def _method(part: object, name: str) -> Any:
    """Return the method of `part`, which is `part` itself if the name is `__call__`; None if it is missing."""
    return part if name == "__call__" else getattr(part, name, None)


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


def misstated(capabilities: Capabilities) -> Iterator[str]:
    """Yield each value that no engine can have, with what it has to be."""
    for name, annotation in get_type_hints(Capabilities).items():
        value = getattr(capabilities, name)
        if get_origin(annotation) is Literal:
            is_right, expected = value in get_args(annotation), f"one of {', '.join(map(repr, get_args(annotation)))}"
        elif annotation is bool:
            is_right, expected = isinstance(value, bool), "True or False"
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_right = value is None or (is_number and isfinite(value) and value >= 0)
            expected = "a number of seconds, or None"
        if not is_right:
            yield f"{name}={value!r}; it has to be {expected}"


async def check_complete(store: Store, adapter: str) -> list[str]:
    """Return the plain_methods() of the open store and its units of work, one of which is begun and left.

    Raise Misconfigured, with all gaps in one line, unless they fulfil their ports, or with all values that are
    misstated(). Raise Unavailable if the store is.
    """
    found, plain = [*gaps(Store, store)], [*plain_methods(Store, store)]
    if callable(getattr(store, "begin", None)):
        try:
            async with asyncio.timeout(LIMIT), store.begin() as uow:
                found += gaps(UnitOfWork, uow)
                plain += plain_methods(UnitOfWork, uow)
        except Unavailable:
            raise
        except Exception as error:
            found.append(f"Store.begin raises {described(error)}")
    if found:
        raise incomplete(adapter, found)
    if wrong := [*misstated(store.capabilities)]:
        raise Misconfigured(f"the adapter {adapter} states {', and '.join(wrong)}")
    return plain


def incomplete(adapter: str, found: list[str]) -> Misconfigured:
    """Return the error that says what an adapter lacks, and where to read what each method has to do."""
    return Misconfigured(
        f"the adapter {adapter} is not complete: {', '.join(found)}; what each one has to do is said in the modules"
        " store, ports, readers and streaming of the package application"
    )
