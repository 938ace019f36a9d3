"""Another process that uses the store that HANDOVER_DATABASE_URL and HANDOVER_PERSISTENCE name.

`claim KEY CALLER` claims an idempotency key, changes something, and then neither commits nor ends. `find USER` prints
whether a user exists.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from application.errors import Unavailable
from application.ports import KeyId
from application.store import Store
from domain.errors import NotFound
from domain.user import UserId
from interfaces.testing.builders import NOON, a_user

if TYPE_CHECKING:
    from infrastructure.container import Settings

OPERATION = "POST /users"
EMAIL = "claimant@example.org"


async def start(settings: "Settings", *arguments: str) -> Process:
    """Start this module as another process, with these settings' store."""
    store = {"HANDOVER_DATABASE_URL": settings.database_url, "HANDOVER_PERSISTENCE": settings.adapter}
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "interfaces.certification.another_process", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=os.environ | path | store)


async def claim_and_stay(store: Store, key: str, caller: str) -> None:
    """Claim the key and add a user, print `claimed`, and stay in the unit of work for a minute."""
    async with store.begin() as uow:
        key_id = KeyId(UserId(UUID(caller)), OPERATION, key)
        await uow.keys.claim(key_id, b"request", at=NOON, lifetime=timedelta(hours=24), max_wait=1)
        await uow.users.add(a_user(email=EMAIL))
        await uow.keys.save_answer(key_id, b"never seen")
        print("claimed", flush=True)
        await asyncio.sleep(60)


async def find(store: Store, user_id: str) -> None:
    """Print whether the store has the user."""
    try:
        await store.users.get(UserId(UUID(user_id)))
        print("found")
    except NotFound:
        print("not found")


async def run(command: str, *arguments: str) -> None:
    """Open the store and run the command; print `refused` if the store cannot be used by another process."""
    from infrastructure.container import load_settings, open_store  # noqa: PLC0415 - only this process needs it

    store = open_store(load_settings())
    try:
        await store.open()
    except Unavailable as error:
        print("refused:", error)
        return
    try:
        await (claim_and_stay if command == "claim" else find)(store, *arguments)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
