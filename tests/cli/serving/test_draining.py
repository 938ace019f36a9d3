"""What a server does between a signal and the end of its port."""

import asyncio
import socket

import pytest
import uvicorn

from interfaces.cli.serving import server as serving
from tests.cli.serving.test_closing import REQUEST, listener, started

__all__ = ["listener"]


async def test_a_second_signal_can_only_shorten_the_time(listener: socket.socket) -> None:
    async with started(listener) as server:
        server.drain(0, 3)
        times = server.closes_at, server.ends_at
        server.drain(20, 25)
        assert (server.closes_at, server.ends_at) == times


async def test_requests_that_come_later_in_a_drain_are_asked_to_close_too(listener: socket.socket) -> None:
    """uvicorn makes its headers anew every second."""
    async with started(listener) as server:
        server.pools = dict  # type: ignore[method-assign]
        server.drain(60, 60)
        await server.on_tick(0)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(REQUEST)
        async with asyncio.timeout(60):
            assert b"\r\nconnection: close\r\n" in (await reader.read()).lower()
        writer.close()


async def test_the_store_is_closed_when_the_purge_has_ended(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def purge() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            ended.append("purge")

    async def close(*_: object) -> None:
        ended.append("store")

    monkeypatch.setattr(uvicorn.Server, "shutdown", close)
    for name, seconds in (("HANDSHAKE_GRACE", 0), ("IDLE_GRACE", 0), ("PURGE_GRACE", 60)):
        monkeypatch.setattr(serving, name, seconds)
    async with started(listener) as server:
        server.purging = asyncio.create_task(purge())
        await asyncio.sleep(0)
        server.drain(0, 0)
        server.purging.cancel()
        await server.shutdown([])
    assert ended == ["purge", "store"]
