"""The store, open for as long as a command needs it, and what works on it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from infrastructure.container import Container, Misconfigured, build, load_settings, offered
from interfaces.logs import configure_logs

Offered = Mapping[type, Any]


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Container, Offered]]:
    settings = load_settings()
    if settings.adapter == "memory":
        raise Misconfigured("HANDOVER_DATABASE_URL: memory:// ends with this command; name a store that lasts")
    configure_logs(settings)
    container = build(settings)
    store = container.store()
    await store.open()
    try:
        yield container, offered(container)
    finally:
        await store.close()
