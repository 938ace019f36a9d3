"""Another process that uses the store that HANDOVER_DATABASE_URL and HANDOVER_PERSISTENCE name.

`claim KEY CALLER` claims an idempotency key and adds a user, and `rename ITEM` renames an item; then neither commits
nor ends. `add USER` adds a user, commits, and does not end. `find USER` prints whether a user exists.
`rename-when-told ITEM` and `deactivate-when-told USER` wait for a line on stdin; then they make the change, commit it,
and print how that ended.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from application.errors import Unavailable
from application.ports import KeyId, UnitOfWork
from application.store import Store
from domain.errors import NotFound
from domain.item import ItemId
from domain.user import UserId
from interfaces.certification.overlapping import Work, attempt, insert
from interfaces.testing.builders import NOON, a_user

if TYPE_CHECKING:
    from infrastructure.container import Settings

OPERATION = "POST /users"
EMAIL = "claimant@example.org"
SECONDS_TO_START = 60.0
"""A limit for the other process to start, even on a busy machine."""

SECONDS_AT_MOST = 300
"""When the other process is killed if nobody has done so, for instance because it blocks its event loop."""


@asynccontextmanager
async def started(settings: "Settings", *arguments: str) -> AsyncIterator[Process]:
    """Start this module as another process, with these settings' store; kill it at the end of the block.

    The block begins before the process is ready: wait with says() for the line that it prints then. Its stdin and
    stdout are pipes.
    """
    store = {"HANDOVER_DATABASE_URL": settings.database_url, "HANDOVER_PERSISTENCE": settings.adapter}
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "interfaces.certification.another_process", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=os.environ | path | store)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def says(process: Process) -> str:
    """Wait for the next line that the process prints and return it, without white space around it.

    Return an empty text if the process ends without one; raise TimeoutError after SECONDS_TO_START.
    """
    assert process.stdout
    async with asyncio.timeout(SECONDS_TO_START):
        return (await process.stdout.readline()).decode().strip()


async def tell(process: Process) -> str:
    """Send the process a line, which it waits for, and return what it says next (see says())."""
    assert process.stdin
    process.stdin.write(b"\n")
    await process.stdin.drain()
    return await says(process)


async def rename(uow: UnitOfWork, item_id: ItemId) -> None:
    """Change the item's name to "Renamed", without the rules of the use case and without committing."""
    item = await uow.items.get_for_update(item_id)
    item.name, item.version = "Renamed", item.version + 1
    await uow.items.save(item)


async def deactivate(uow: UnitOfWork, user_id: UserId) -> None:
    """Deactivate the user, without the rules of the use case and without committing."""
    user = await uow.users.get_for_update(user_id)
    user.is_active, user.version = False, user.version + 1
    await uow.users.save(user)


async def commit_when_told(store: Store, work: Work) -> None:
    """Print `ready`, wait for a line on stdin, run the work in a unit of work, and print the result of attempt()."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(await attempt(store.begin, work), flush=True)


async def rename_when_told(store: Store, item_id: str) -> None:
    """Rename the item in commit_when_told()."""
    await commit_when_told(store, lambda uow: rename(uow, ItemId(UUID(item_id))))


async def deactivate_when_told(store: Store, user_id: str) -> None:
    """Deactivate the user in commit_when_told()."""
    await commit_when_told(store, lambda uow: deactivate(uow, UserId(UUID(user_id))))


async def stay() -> None:
    """Wait until the process that has started this one ends."""
    await asyncio.to_thread(sys.stdin.readline)


async def rename_and_stay(store: Store, item_id: str) -> None:
    """Rename the item, print `renamed`, and stay in the unit of work; never commit it."""
    async with store.begin() as uow:
        await rename(uow, ItemId(UUID(item_id)))
        print("renamed", flush=True)
        await stay()


async def claim_and_stay(store: Store, key: str, caller: str) -> None:
    """Claim the key, add a user, store an answer, and print `claimed`.

    Then stay in the unit of work, and never commit it.
    """
    async with store.begin() as uow:
        key_id = KeyId(UserId(UUID(caller)), OPERATION, key)
        await uow.keys.claim(key_id, b"request", at=NOON, lifetime=timedelta(hours=24), max_wait=1)
        await uow.users.add(a_user(email=EMAIL))
        await uow.keys.save_answer(key_id, b"never seen")
        print("claimed", flush=True)
        await stay()


async def add_and_stay(store: Store, user_id: str) -> None:
    """Add a user with this id, commit it, print `added`, and leave the store open."""
    await insert(store.begin, a_user(id=UserId(UUID(user_id)), email=f"{user_id}@example.org", username=user_id))
    print("added", flush=True)
    await stay()


async def find(store: Store, user_id: str) -> None:
    """Print `found` if the store has the user, else `not found`."""
    try:
        await store.users.get(UserId(UUID(user_id)))
        print("found")
    except NotFound:
        print("not found")


async def run(command: str, *arguments: str) -> None:
    """Open the store and run the command, which is a key of COMMANDS; close the store afterwards.

    If opening raises Unavailable, print `refused: ` and the error instead: another process cannot use this store.
    """
    from infrastructure.container import load_settings, open_store  # noqa: PLC0415 - only this process needs it

    store = open_store(load_settings())
    try:
        await store.open()
    except Unavailable as error:
        print("refused:", error)
        return
    try:
        await COMMANDS[command](store, *arguments)
    finally:
        await store.close()


COMMANDS: dict[str, Callable[..., Awaitable[None]]] = {
    "claim": claim_and_stay,
    "rename": rename_and_stay,
    "add": add_and_stay,
    "find": find,
    "rename-when-told": rename_when_told,
    "deactivate-when-told": deactivate_when_told,
}

if __name__ == "__main__":
    signal.alarm(SECONDS_AT_MOST)
    asyncio.run(run(*sys.argv[1:]))
