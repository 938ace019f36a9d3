"""Users who come and go and items that change hands, for tests of what reads a store meanwhile."""

import asyncio
import random
from contextlib import suppress

from application.ports import UnitOfWork
from application.store import Store
from application.transact import Transact
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem, TransferItem
from application.use_cases.users import DeleteAccount
from domain.errors import DomainError
from domain.item import Item
from domain.session import Session
from domain.user import User
from interfaces.testing.builders import NOON, a_session, a_user, new_id
from interfaces.testing.clock_and_ids import SetClock


class Traffic:
    """Tasks that change a store until they are told to stop."""

    def __init__(self, store: Store, users: list[User], items: list[Item]) -> None:
        self.store = store
        self.users = users
        self.items = items
        self.clock = SetClock()
        self.transact = Transact(store.begin, self.clock)
        self.transfer = TransferItem(self.transact, new_id, self.clock)
        self.chance = random.Random(1)
        self.stopped = False
        self.changes = 0

    async def transfer_and_change(self) -> None:
        while not self.stopped:
            item = self.chance.choice(self.items)
            owner = (await self.store.items.get(item.id)).item.owner_id
            with suppress(DomainError):
                await self.transfer(item.id, by=owner, to=self.chance.choice(self.users).id)
                await ChangeItem(self.transact)(item.id, {"description": str(self.changes)}, by=owner)
            await self.rest()

    async def come_and_go(self) -> None:
        """A user signs up, gets an item, gives it away or deletes it, and leaves."""
        while not self.stopped:
            guest = a_user()
            session = a_session(guest)
            successor = new_id().bytes * 2

            async def sign_in(uow: UnitOfWork, guest: User = guest, session: Session = session) -> None:
                await uow.users.add(guest)
                await uow.sessions.add(session)

            async def rotate(uow: UnitOfWork, session: Session = session, successor: bytes = successor) -> None:
                rotated = await uow.sessions.get_for_update(session.id)
                rotated.rotate(session.token_hash, successor, NOON)
                await uow.sessions.save(rotated)

            await self.transact(sign_in)
            await self.transact(rotate)
            create = CreateItem(self.transact, new_id, self.clock)
            created = await create(by=guest.id, name="Gift", description=None, price=self.items[0].price)
            if self.chance.random() < 0.5:
                await DeleteItem(self.transact)(created.item.id, by=guest.id)
            else:
                await self.transfer(created.item.id, by=guest.id, to=self.users[0].id)
            await DeleteAccount(self.transact)(guest.id, by=guest.id)
            await self.rest()

    async def rest(self) -> None:
        self.changes += 1
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)
