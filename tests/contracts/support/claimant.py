"""A process that claims a key, changes something, and then neither commits nor goes away: `ENGINE URL KEY USER`."""

import asyncio
import sys
from datetime import timedelta
from uuid import UUID

from application.ports import KeyId
from domain.user import UserId
from tests.support.builders import NOON, a_user
from tests.support.engines import ENGINES, settings_for


async def claim_and_stay(engine: str, url: str, key: str, caller: str) -> None:
    store = ENGINES[engine].adapter(settings_for(url))
    await store.open()
    async with store.begin() as uow:
        key_id = KeyId(UserId(UUID(caller)), "POST /users", key)
        await uow.keys.claim(key_id, b"request", at=NOON, lifetime=timedelta(hours=24), max_wait=1)
        await uow.users.add(a_user(email="claimant@example.org"))
        await uow.keys.save_answer(key_id, b"never seen")
        print("claimed", flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(claim_and_stay(*sys.argv[1:]))
