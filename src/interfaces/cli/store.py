"""The store and the use cases for commands other than `serve`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from infrastructure.container import Container, Misconfigured, build_container, load_settings, use_cases_and_ports
from interfaces.logs import configure_logs

UseCasesAndPorts = Mapping[type, Any]


@asynccontextmanager
async def open_container() -> AsyncIterator[tuple[Container, UseCasesAndPorts]]:
    """Yield a container whose store is open inside the block, and its use cases and ports by class.

    Raise Misconfigured for the in-memory store, which would be empty and lost at the end of the command.
    """
    settings = load_settings()
    if settings.adapter == "memory":
        raise Misconfigured("HANDOVER_DATABASE_URL: memory:// ends with this command; name a store that lasts")
    configure_logs(settings)
    container = build_container(settings)
    store = container.store()
    await store.open()
    try:
        yield container, use_cases_and_ports(container)
    finally:
        await store.close()
