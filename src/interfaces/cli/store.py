"""The store and the use cases for commands other than `serve`."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from application.errors import Unavailable
from application.store import Store

if TYPE_CHECKING:
    from infrastructure.container import Container, Settings

UseCasesAndPorts = Mapping[type, Any]


@asynccontextmanager
async def open_container() -> "AsyncIterator[tuple[Container, UseCasesAndPorts]]":
    """Yield a container whose store is open inside the block, and its use cases and ports by class.

    Read the settings and configure the logs first. Raise Misconfigured if a setting is wrong, if the SQLite file does
    not exist, if the adapter is broken, or for a store in memory, which would be empty and lost at the end of the
    command; raise Unavailable if the store cannot be used. The schema is not checked.
    """
    from infrastructure.container import build_container, load_settings, use_cases_and_ports
    from interfaces.logs import configure_logs

    settings = load_settings()
    configure_logs(settings)
    container = build_container(settings)
    with naming_adapter(settings):
        store = container.store()
        check_durable(settings, store)
        check_file_exists(settings)
        await store.open()
    try:
        with naming_adapter(settings):
            use_cases = use_cases_and_ports(container)
            await store.schema()  # a broken adapter is noticed here, and not in the middle of the command
        yield container, use_cases
    finally:
        await store.close()


def check_durable(settings: "Settings", store: Store) -> None:
    """Raise Misconfigured if the data of this store do not outlive the command."""
    from infrastructure.container import Misconfigured

    if not store.capabilities.durable:
        raise Misconfigured(f"{settings.masked_url} ends with this command: name a store that lasts")


def check_file_exists(settings: "Settings") -> None:
    """Raise Misconfigured if the settings name a SQLite file that does not exist, which SQLite would create."""
    from infrastructure.container import Misconfigured

    file = settings.sqlite_file
    if file and not file.exists():
        raise Misconfigured(
            f"HANDOVER_DATABASE_URL: there is no SQLite file {file}: check the name, or run `handover migrate up` to"
            " create it"
        )


@contextmanager
def naming_adapter(settings: "Settings") -> Iterator[None]:
    """Raise Misconfigured, which names the adapter, in place of an error in the block that no adapter may raise.

    It is for the first calls of an adapter, which may be of another package, and incomplete or broken.
    """
    from infrastructure.container import Misconfigured, described

    try:
        yield
    except (Misconfigured, Unavailable):
        raise
    except Exception as error:
        raise Misconfigured(
            f"the adapter {settings.adapter} fails: {described(error)}; `handover certify` says what it lacks"
        ) from error


@contextmanager
def naming(**arguments: str) -> Iterator[None]:
    """Name the command's own arguments, by the variable that each replaces, in errors that are raised in the block.

    With `naming(HANDOVER_DATABASE_URL="--url")`, the message of Misconfigured or Unavailable says `--url`.
    A command in the message, which sets the variable, is left as it is.
    """
    from infrastructure.container import Misconfigured

    try:
        yield
    except (Misconfigured, Unavailable) as error:
        message = str(error)
        for variable, argument in arguments.items():
            message = re.sub(rf"{variable}\b(?!=)", argument, message)
        error.args = (message,)
        raise
