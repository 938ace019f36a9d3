"""Running the same random operations on the in-memory store and on another one, and comparing every result and error.

Operations run one after another, except that readers are also called while a unit of work is open.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import cycle, product
from typing import Any, TypeVar

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from application.paging import Position, Sort, Window
from application.ports import KeyId, UnitOfWork
from application.readers import ItemFilter, OwnedItem, TaskFilter
from application.store import Store
from application.use_cases.passwords import hash_subject, throttled_network
from application.use_cases.sessions import hash_token
from domain.item import Item, ItemChanges, ItemId, Transfer, TransferId
from domain.session import Session, SessionId
from domain.task import Task, TaskChanges, TaskId, TaskStatus
from domain.text import normalize_identifier
from domain.user import User, UserId
from infrastructure.persistence.memory import MemoryStore
from interfaces.certification.comparison import values
from interfaces.certification.comparison.use_cases import (
    LIFETIME,
    OpenUnit,
    Outcome,
    UseCases,
    check_histories,
    compare,
    outcome,
    scattered_ids,
    with_idempotency_key,
)
from interfaces.certification.comparison.values import maybe, mostly
from interfaces.testing.clock_and_ids import SetClock

T = TypeVar("T")
Step = Callable[[UnitOfWork], Awaitable[T]]

KEY_LIFETIME = timedelta(hours=24)
MOMENT = timedelta(milliseconds=1)
AGES = (timedelta(0), KEY_LIFETIME - MOMENT, KEY_LIFETIME, LIFETIME - MOMENT, LIFETIME, LIFETIME + KEY_LIFETIME)
LOWEST, DIME, HIGHEST = Decimal(0), Decimal("0.10"), Decimal("9999999999.99")
EVERYTHING = Window(limit=100)
NOBODY = UserId(list(zip(range(10_000), scattered_ids(), strict=False))[-1][1])

COMMIT, EXIT, RAISE = "commit", "exit", "raise"
UNIT = st.tuples(st.integers(1, 4), st.sampled_from([COMMIT, COMMIT, COMMIT, EXIT, RAISE]))
"""The number of steps of a unit of work, and how it ends."""

KEY = st.none() | st.tuples(values.keys, values.fingerprints)


@dataclass
class Unit:
    """A unit of work that is open on both stores.

    After `steps_left` more steps it ends as `ending` says: COMMIT, EXIT (left without a commit) or RAISE (left by an
    error).
    """

    units: list[OpenUnit]
    steps_left: int
    ending: str
    key: KeyId | None = None
    """The idempotency key that it has claimed, and with which it stores an answer before it commits."""


# While a unit of work is open, only its own steps and readers are run.
without_unit = precondition(lambda machine: machine.unit is None)
in_unit = precondition(lambda machine: machine.unit is not None)


class Differential(RuleBasedStateMachine):
    """A Hypothesis state machine that does the same to the in-memory store and to another, and compares each outcome.

    Its rules run use cases while no unit of work is open, and single steps of the unit of work while one is.
    """

    people: "Bundle[User]" = Bundle("people")
    things: "Bundle[Item]" = Bundle("things")
    tasks: "Bundle[Task]" = Bundle("tasks")
    tokens: "Bundle[str]" = Bundle("tokens")

    def __init__(self, loop: asyncio.AbstractEventLoop, fresh: Callable[[], Awaitable[Store]]) -> None:
        super().__init__()
        self.loop = loop
        self.clock = SetClock()
        self.both_stores = [UseCases(store, self.clock) for store in (MemoryStore(), loop.run_until_complete(fresh()))]
        self.unit: Unit | None = None
        self.ids = scattered_ids()
        for _ in range(1_000):
            next(self.ids)  # apart from the ids that use cases take
        self.known_users: dict[UserId, User] = {}
        self.known_items: dict[ItemId, Item] = {}
        self.known_tokens: set[str] = set()
        self.known_keys: set[KeyId] = set()
        self.known_subjects = {b"never seen"}
        self.agreed = True
        self.first_people = [
            self._remember_user(self._sign_up(f"{name}@example.org", name, "correct horse"))
            for name in ("ada", "grace", "zoe")
        ]

    # The first records

    @initialize(target=people)
    def some_people(self) -> "MultipleResults[User]":
        """Put the users that __init__ has created into the bundle."""
        return multiple(*self.first_people)

    @initialize(target=things, kinds=st.lists(st.tuples(values.names, values.prices), min_size=3, max_size=5))
    def some_things(self, kinds: list[tuple[str, Decimal]]) -> "MultipleResults[Item]":
        """Create items of these names and prices for the first two users by turns; return those that were created."""
        owners = cycle(self.first_people[:2])
        return _all_results(self.create_item(next(owners), name, None, price, None) for name, price in kinds)

    @initialize(target=tasks, titles=st.lists(values.names, min_size=2, max_size=4))
    def some_tasks(self, titles: list[str]) -> "MultipleResults[Task]":
        """Create tasks of these titles for the third user, who owns no items and can thus be deleted."""
        owner = self.first_people[2]  # who owns no items, and so may leave them behind
        return _all_results(self.create_task(owner, title, None, TaskStatus.PENDING, None) for title in titles)

    @initialize(target=tokens)
    def some_sessions(self) -> "MultipleResults[str]":
        """Sign all first users in; return their refresh tokens."""
        return _all_results(self.sign_in(user, "username", "correct horse", "::1") for user in self.first_people)

    # Comparing

    def run_on_both(self, call: Callable[[UseCases], Awaitable[T]]) -> Outcome[T]:
        """Make the same call on both stores and return its outcome; raise Difference if the two outcomes differ.

        An error that outcome() does not return is raised. After any error, `agreed` is False.
        """
        self.agreed = False
        expected, actual = (self.loop.run_until_complete(outcome(call(use_cases))) for use_cases in self.both_stores)
        compare(expected, actual)
        self.agreed = True
        return expected

    def step(self, step: Step[T]) -> Outcome[T]:
        """Run the next step of the open unit of work on both stores, and return its outcome.

        Raise Difference if the outcomes differ. End the unit of work after its last step, or if the step was refused.
        """
        assert self.unit
        result = self._compare_step(step)
        if self.unit:
            self.unit.steps_left -= 1
            if not self.unit.steps_left:
                self._end()
        return result

    def _compare_step(self, step: Step[T]) -> Outcome[T]:
        """Run the step on both stores and return its outcome; raise Difference if the two outcomes differ.

        If only one store refuses, with an error that may come as late as at commit(), the other one has to raise the
        same error at commit(). A refusal ends the unit of work.
        """
        assert self.unit
        self.agreed = False
        in_memory, tested = self.unit.units
        expected, actual = self._run_step(in_memory, step), self._run_step(tested, step)
        if expected.may_come_later and not actual.refusal:
            compare(expected, self._run_step(tested, _commit))
        elif actual.may_come_later and not expected.refusal:
            expected = Outcome(None, actual.refusal, actual.may_come_later)
            compare(self._run_step(in_memory, _commit), expected)
        else:
            compare(expected, actual)
        self.agreed = True
        if expected.refusal:
            self.unit = None
        return expected

    def _run_step(self, opened: OpenUnit, step: Step[T]) -> Outcome[T]:
        """Run the step in the open unit of work of one store, and return its outcome."""
        return self.loop.run_until_complete(outcome(opened.run(step)))

    def _end(self) -> None:
        """End the open unit of work on both stores as was drawn: commit, leave, or leave with an error.

        Before a commit, the answer of a claimed key is stored. Raise Difference if the two outcomes of storing the
        answer or of the commit differ.
        """
        assert self.unit
        unit = self.unit
        if unit.ending == COMMIT:
            if unit.key:
                key = unit.key
                self._compare_step(lambda uow: uow.keys.save_answer(key, b"an answer"))
            self._compare_step(_commit)
        for opened in unit.units if self.unit else ():
            self.loop.run_until_complete(opened.exit_with_error() if unit.ending == RAISE else opened.exit())
        self.unit = None

    # Users

    @rule(target=people, email=values.given_emails, username=values.given_usernames, password=values.given_passwords)
    @without_unit
    def sign_up(self, email: str, username: str, password: str) -> "User | MultipleResults[User]":
        """Create an account on both stores; return the user if it was created, else no result."""
        user = self._sign_up(email, username, password)
        return multiple() if user is None else self._remember_user(user)

    def _sign_up(self, email: str, username: str, password: str) -> User | None:
        """Create an account on both stores; return the user, or None if it was refused."""
        return self.run_on_both(
            lambda use_cases: use_cases.create_user(email=email, username=username, password=password)
        ).answer

    @rule(
        target=people,
        user=people,
        by=maybe(people, rarely=True),
        current_password=values.passwords,
        email=st.none() | values.given_emails,
        password=st.none() | values.given_passwords,
        address=values.addresses,
    )
    @without_unit
    def change_account(
        self,
        user: User,
        by: User | None,
        current_password: str,
        email: str | None,
        password: str | None,
        address: str,
    ) -> "User | MultipleResults[User]":
        """Change an account, perhaps as another user or with a wrong password; return it if it was changed.

        `by` None: as the account's own user. `email` or `password` None: that field is not changed.
        """
        self._note_subjects(user, user.username, address)
        changed = self.run_on_both(
            lambda use_cases: use_cases.change_account(
                user.id,
                by=(by or user).id,
                current_password=current_password,
                email=email,
                password=password,
                address=address,
            )
        )
        return multiple() if changed.answer is None else self._remember_user(changed.answer)

    @rule(
        user=people,
        by=maybe(people, rarely=True),
        end=st.sampled_from(["delete", *["deactivate"] * 2, *["activate"] * 3]),
    )
    @without_unit
    def end_or_resume_account(self, user: User, by: User | None, end: str) -> None:
        """Delete, deactivate or activate an account; `end` says which.

        Only deleting is done on behalf of a user: `by`, or the account's own user if that is None.
        """
        match end:
            case "delete":
                self.run_on_both(lambda use_cases: use_cases.delete_account(user.id, by=(by or user).id))
            case "deactivate":
                self.run_on_both(lambda use_cases: use_cases.deactivate_user(user.username))
            case _:
                self.run_on_both(lambda use_cases: use_cases.activate_user(user.username))

    # Items

    @rule(
        target=things, by=people, name=values.given_names, description=values.descriptions, price=values.prices, key=KEY
    )
    @without_unit
    def create_item(
        self, by: User, name: str, description: str | None, price: Decimal, key: tuple[str, bytes] | None
    ) -> "Item | MultipleResults[Item]":
        """Create an item, with an idempotency key unless `key` is None; return it if it was created."""
        return self._remember_item(
            self.run_on_both(
                lambda use_cases: self._with_key(
                    use_cases.create_item(by=by.id, name=name, description=description, price=price),
                    by.id,
                    "POST /items",
                    key,
                )
            )
        )

    @rule(
        target=things,
        item=things,
        by=maybe(people, rarely=True),
        changes=values.item_changes,
        offsets=values.version_offsets,
    )
    @without_unit
    def change_item(
        self, item: Item, by: User | None, changes: ItemChanges, offsets: tuple[int, ...] | None
    ) -> "Item | MultipleResults[Item]":
        """Change an item, perhaps by another user, or with an If-Match that does not name its version.

        `by` None: by its owner. `offsets` are the versions in If-Match relative to that of the item; None: no If-Match.
        Return the item unless the change was refused.
        """
        return self._remember_item(
            self.run_on_both(
                lambda use_cases: use_cases.change_item(
                    item.id, changes, by=self._caller(by, item), expected=_expected(item.version, offsets)
                )
            )
        )

    @rule(item=things, by=maybe(people, rarely=True), offsets=values.version_offsets)
    @without_unit
    def delete_item(self, item: Item, by: User | None, offsets: tuple[int, ...] | None) -> None:
        """Delete an item, perhaps by another user, or with an If-Match that does not name its version.

        `by` None: by its owner. `offsets` are the versions in If-Match relative to that of the item; None: no If-Match.
        """
        self.run_on_both(
            lambda use_cases: use_cases.delete_item(
                item.id, by=self._caller(by, item), expected=_expected(item.version, offsets)
            )
        )

    @rule(
        target=things,
        item=things,
        by=maybe(people, rarely=True),
        to=st.lists(people, min_size=1, max_size=3),
        offsets=values.version_offsets,
        key=KEY,
    )
    @without_unit
    def transfer_item(
        self,
        item: Item,
        by: User | None,
        to: list[User],
        offsets: tuple[int, ...] | None,
        key: tuple[str, bytes] | None,
    ) -> "Item | MultipleResults[Item]":
        """Transfer the item to one user after another, up to the first refusal.

        The first transfer is made with `key`, if it is not None, and by the user `by`, or by the owner if that is None;
        the others are made by the owner. `offsets` are the versions in If-Match relative to that of the item; None: no
        If-Match. Return the item after the last transfer, or no result if one was refused.
        """
        moved = self._transfer(item, self._caller(by, item), to[0], offsets, key)
        for user in to[1:]:
            if isinstance(moved, Item):
                moved = self._transfer(moved, moved.owner_id, user, offsets, None)
        return moved

    # Hypothesis chooses all rules equally often; by three names this one is chosen three times as often.
    transfer_more_items = transfer_still_more_items = transfer_item

    def _transfer(
        self, item: Item, by: UserId, to: User, offsets: tuple[int, ...] | None, key: tuple[str, bytes] | None
    ) -> "Item | MultipleResults[Item]":
        """Transfer an item on both stores, with the key unless it is None; return the item if it was transferred.

        `offsets` are the versions in If-Match relative to that of the item; None: no If-Match.
        """
        return self._remember_item(
            self.run_on_both(
                lambda use_cases: self._with_key(
                    use_cases.transfer_item(item.id, by=by, to=to.id, expected=_expected(item.version, offsets)),
                    by,
                    "POST /items/{id}/transfer",
                    key,
                )
            )
        )

    # Tasks

    @rule(
        target=tasks,
        by=people,
        title=values.given_names,
        description=values.descriptions,
        status=values.statuses,
        key=KEY,
    )
    @without_unit
    def create_task(
        self, by: User, title: str, description: str | None, status: TaskStatus, key: tuple[str, bytes] | None
    ) -> "Task | MultipleResults[Task]":
        """Create a task, with an idempotency key unless `key` is None; return it if it was created."""
        return _result_if_any(
            self.run_on_both(
                lambda use_cases: self._with_key(
                    use_cases.create_task(by=by.id, title=title, description=description, status=status),
                    by.id,
                    "POST /tasks",
                    key,
                )
            )
        )

    @rule(
        target=tasks,
        task=tasks,
        by=maybe(people, rarely=True),
        changes=values.task_changes,
        offsets=values.version_offsets,
    )
    @without_unit
    def change_task(
        self, task: Task, by: User | None, changes: TaskChanges, offsets: tuple[int, ...] | None
    ) -> "Task | MultipleResults[Task]":
        """Change a task, perhaps by another user, or with an If-Match that does not name its version.

        `by` None: by its owner. `offsets` are the versions in If-Match relative to that of the task; None: no If-Match.
        Return the task unless the change was refused.
        """
        return _result_if_any(
            self.run_on_both(
                lambda use_cases: use_cases.change_task(
                    task.id, changes, by=by.id if by else task.owner_id, expected=_expected(task.version, offsets)
                )
            )
        )

    @rule(task=tasks, by=maybe(people, rarely=True), offsets=values.version_offsets)
    @without_unit
    def delete_task(self, task: Task, by: User | None, offsets: tuple[int, ...] | None) -> None:
        """Delete a task, perhaps by another user, or with an If-Match that does not name its version.

        `by` None: by its owner. `offsets` are the versions in If-Match relative to that of the task; None: no If-Match.
        """
        self.run_on_both(
            lambda use_cases: use_cases.delete_task(
                task.id, by=by.id if by else task.owner_id, expected=_expected(task.version, offsets)
            )
        )

    # Sessions

    @rule(
        target=tokens,
        user=people,
        login=mostly(st.sampled_from(["email", "username"]), values.usernames),
        password=values.passwords,
        address=values.addresses,
    )
    @without_unit
    def sign_in(self, user: User, login: str, password: str, address: str) -> "str | MultipleResults[str]":
        """Sign in, perhaps with a wrong password; return the refresh token if the sign-in succeeds.

        `login` is "email" or "username" for that of `user`, in upper case; any other text is the login name itself.
        """
        login = {"email": user.email.upper(), "username": user.username.upper()}.get(login, login)
        self._note_subjects(user, login, address)
        return self._remember_token(
            self.run_on_both(lambda use_cases: use_cases.sign_in(login=login, password=password, address=address))
        )

    @rule(target=tokens, token=maybe(tokens))
    @without_unit
    def refresh(self, token: str | None) -> "str | MultipleResults[str]":
        """Exchange a refresh token, which may have been used before, and return the new one if there is one.

        If `token` is None, the token is one that no session has.
        """
        return self._remember_token(
            self.run_on_both(lambda use_cases: use_cases.refresh(refresh_token=token or "unknown"))
        )

    @rule(token=tokens)
    @without_unit
    def sign_out(self, token: str) -> None:
        """End the session of this refresh token."""
        self.run_on_both(lambda use_cases: use_cases.sign_out(refresh_token=token))

    # Time

    @rule(by=values.moments, purge=st.booleans())
    @without_unit
    def time_passes(self, by: timedelta, purge: bool) -> None:
        """Move the clock forward, and perhaps purge what has expired."""
        self.clock.time += by
        if purge:
            self._purge(self.clock())

    def _purge(self, at: datetime) -> None:
        """Purge on both stores what has expired at this time; raise Difference unless both remove as many records."""
        self.run_on_both(lambda use_cases: use_cases.store.purge(at, limit=10_000))

    # Units of work

    @rule(unit=UNIT)
    @without_unit
    def begin(self, unit: tuple[int, str]) -> None:
        """Open a unit of work on both stores; `unit` is its number of steps and how it ends."""
        self._open_unit(*unit)

    @rule(unit=UNIT, by=people, key=values.keys, fingerprint=values.fingerprints)
    @without_unit
    def begin_with_a_key(self, unit: tuple[int, str], by: User, key: str, fingerprint: bytes) -> None:
        """Open a unit of work on both stores that first claims an idempotency key.

        It ends at once if the key has an answer or the claim is refused; otherwise it stores an answer before a commit.
        `unit` is its number of steps, and its ending.
        """
        self._open_unit(*unit)
        assert self.unit
        id = self._key(by.id, "POST /items", key)
        claim = self._compare_step(_claim(id, fingerprint, self.clock()))
        if self.unit and claim.answer is None:
            self.unit.key = id
        elif self.unit:  # after a replay there is nothing left to do, and MongoDB's transaction is over
            self.unit.ending = EXIT
            self._end()

    @rule(target=people, email=values.emails.map(str.casefold), username=values.usernames, active=st.booleans())
    @in_unit
    def add_user(self, email: str, username: str, active: bool) -> User:
        """Add a user through the repository; return it even if it was refused, as a user who does not exist."""
        user = User(
            id=UserId(next(self.ids)),
            email=email,
            username=username,
            password_hash="hash of correct horse",
            is_active=active,
            created_at=self.clock(),
        )
        self.step(lambda uow: uow.users.add(copy(user)))
        return self._remember_user(user)

    @rule(user=people, email=st.none() | values.emails.map(str.casefold), hash=st.sampled_from(["old ", ""]))
    @in_unit
    def save_user(self, user: User, email: str | None, hash: str) -> None:
        """Save a user with a new e-mail address or password hash, or with the old ones, through the repository.

        `email` None: not changed. `hash` is what the password hash then begins with: "old ", or nothing.
        """

        async def save(uow: UnitOfWork) -> User:
            """Change and save the user, and return it as it was saved."""
            changed = await uow.users.get_for_update(user.id)
            changed.change(email=email, password_hash=hash + changed.password_hash.removeprefix("old "))
            await uow.users.save(changed)
            return changed

        self.step(save)

    @rule(users=st.lists(people, max_size=3))
    @in_unit
    def hold_users(self, users: list[User]) -> None:
        """Hold some users and one that does not exist, which is left out of the result."""

        async def hold(uow: UnitOfWork) -> list[User]:
            """Return the users that are held, sorted by id."""
            held = await uow.users.hold(NOBODY, *(user.id for user in users))
            return [held[user_id] for user_id in sorted(held)]

        self.step(hold)

    @rule(target=things, owner=people, name=values.names, description=values.descriptions, price=values.prices)
    @in_unit
    def add_item(
        self, owner: User, name: str, description: str | None, price: Decimal
    ) -> "Item | MultipleResults[Item]":
        """Add an item through the repository if its owner exists. Return it in any case, as if it had been added."""
        item = Item(
            id=ItemId(next(self.ids)),
            name=name,
            description=description,
            price=price.quantize(Decimal("0.01")),
            owner_id=owner.id,
            created_at=self.clock(),
        )

        async def add_if_owner_exists(uow: UnitOfWork) -> bool:
            """Hold the owner and add the item; return False, and add nothing, if the owner does not exist."""
            if owner.id not in await uow.users.hold(owner.id):
                return False
            await uow.items.add(copy(item))
            return True

        self.step(add_if_owner_exists)
        self.known_items[item.id] = item
        return item

    @rule(item=things, name=values.names, price=values.prices)
    @in_unit
    def save_item(self, item: Item, name: str, price: Decimal) -> None:
        """Change an item's name and price through the repository, without the rules of the use case."""

        async def save(uow: UnitOfWork) -> Item:
            """Change and save the item, with the next version, and return it as it was saved."""
            changed = await uow.items.get_for_update(item.id)
            changed.name, changed.price = name, price.quantize(Decimal("0.01"))
            changed.version += 1
            await uow.items.save(changed)
            return changed

        self.step(save)

    @rule(item=things)
    @in_unit
    def save_item_as_it_was_seen(self, item: Item) -> None:
        """Save the item with the values that it had when it was seen, except for its version and owner.

        The version is the one that was seen plus one, and the owner is the one in the store. It is refused if the item
        has been changed since it was seen.
        """

        async def save(uow: UnitOfWork) -> Item:
            """Save the item that was seen, with the next version and the stored owner; return the one stored before."""
            found = await uow.items.get_for_update(item.id)
            # An item's owner exists; the one that was seen may have gone, or never have been committed.
            await uow.items.save(replace(item, version=item.version + 1, owner_id=found.owner_id))
            return found

        self.step(save)

    @rule(item=things, outdated=st.booleans())
    @in_unit
    def remove_item(self, item: Item, outdated: bool) -> None:
        """Remove an item through the repository.

        With `outdated`, at the version that was seen last, which is refused if it has been changed since.
        """

        async def remove(uow: UnitOfWork) -> None:
            """Read the item for update and remove it; with `outdated`, remove it at the version that `item` has."""
            found = await uow.items.get_for_update(item.id)
            await uow.items.remove(item if outdated else found)

        self.step(remove)

    @rule(target=things, item=things, to=people, again=st.booleans())
    @in_unit
    def hand_over(self, item: Item, to: User, again: bool) -> "Item | MultipleResults[Item]":
        """Transfer the item in the open unit of work, unless the recipient is missing, inactive or already its owner.

        With `again`, the transfer gets a number that is taken, if there is any, and is refused. Return the item if it
        was transferred.
        """
        id = TransferId(next(self.ids))

        async def transfer(uow: UnitOfWork) -> Item | None:
            """Store the item with its new owner, and the transfer; return the item as it was saved.

            Change nothing and return None if the recipient is missing, inactive or already the owner.
            """
            holders = await uow.users.hold(to.id)
            found = await uow.items.get_for_update(item.id)
            if to.id not in holders or not holders[to.id].is_active or to.id == found.owner_id:
                return None
            if again and found.transfers:
                found.transfers -= 1
            transfer = found.transfer(id=id, by=found.owner_id, to=holders[to.id], at=self.clock())
            await uow.items.save(found)
            await uow.transfers.add(transfer)
            return found

        moved = self.step(transfer).answer
        if moved is None:
            return multiple()
        self.known_items[item.id] = moved
        return moved

    @rule(target=tasks, owner=people, title=values.names, description=values.descriptions, status=values.statuses)
    @in_unit
    def add_task(
        self, owner: User, title: str, description: str | None, status: TaskStatus
    ) -> "Task | MultipleResults[Task]":
        """Add a task through the repository if its owner exists. Return it in any case, as if it had been added."""
        task = Task(
            id=TaskId(next(self.ids)),
            owner_id=owner.id,
            title=title,
            description=description,
            status=status,
            created_at=self.clock(),
        )

        async def add_if_owner_exists(uow: UnitOfWork) -> bool:
            """Hold the owner and add the task; return False, and add nothing, if the owner does not exist."""
            if owner.id not in await uow.users.hold(owner.id):
                return False
            await uow.tasks.add(copy(task))
            return True

        self.step(add_if_owner_exists)
        return task

    @rule(task=tasks, title=values.names, status=values.statuses, removed=st.booleans(), outdated=st.booleans())
    @in_unit
    def save_or_remove_task(self, task: Task, title: str, status: TaskStatus, removed: bool, outdated: bool) -> None:
        """Remove the task through the repository if `removed`, or else save it with this title and status.

        With `outdated`, as of the version that was seen last, which is refused if the task has been changed since.
        """

        async def save_or_remove(uow: UnitOfWork) -> Task:
            """Lock the task, then save or remove it; return it as it was stored before."""
            found = await uow.tasks.get_for_update(task.id)
            if removed:
                await uow.tasks.remove(task if outdated else found)
            else:
                version = task.version if outdated else found.version
                await uow.tasks.save(replace(found, title=title, status=status, version=version + 1))
            return found

        self.step(save_or_remove)

    @rule(user=people, end=st.sampled_from(["remove", "revoke sessions", "remove sessions", "remove tasks"]))
    @in_unit
    def end_what_is_of(self, user: User, end: str) -> None:
        """Remove a user's tasks or sessions, or the user with both, or revoke the sessions; `end` says which."""

        async def end_it(uow: UnitOfWork) -> None:
            """Lock the user; then revoke or remove the sessions, remove the tasks, or remove the user with both."""
            found = await uow.users.get_for_update(user.id)
            if end == "revoke sessions":
                await uow.sessions.revoke_all(user.id)
            if end in {"remove tasks", "remove"}:
                await uow.tasks.remove_all(user.id)
            if end in {"remove sessions", "remove"}:
                await uow.sessions.remove_all(user.id)
            if end == "remove":
                await uow.users.remove(found)

        self.step(end_it)

    @rule(target=tokens, user=people, lifetime=values.moments)
    @in_unit
    def add_session(self, user: User, lifetime: timedelta) -> str:
        """Add a session of this user through the repository if the user exists; it ends after `lifetime`.

        Return its refresh token in any case, as if it had been added.
        """
        id = SessionId(next(self.ids))
        token = f"token of {id}"
        session = Session(id=id, user_id=user.id, token_hash=hash_token(token), expires_at=self.clock() + lifetime)

        async def add_if_user_exists(uow: UnitOfWork) -> bool:
            """Hold the user and add the session; return False, and add nothing, if the user does not exist."""
            if user.id not in await uow.users.hold(user.id):
                return False
            await uow.sessions.add(copy(session))
            return True

        self.step(add_if_user_exists)
        self.known_tokens.add(token)
        return token

    @rule(target=tokens, token=tokens, revoked=st.booleans())
    @in_unit
    def rotate_or_revoke(self, token: str, revoked: bool) -> "str | MultipleResults[str]":
        """Revoke the session of this refresh token through the repository if `revoked`, or else rotate it.

        An unknown token changes nothing; rotating with a token that has been replaced revokes the session. Return the
        successor of the token if the session was rotated, and an unknown token otherwise.
        """
        successor = f"successor {next(self.ids)}"

        async def rotate_or_revoke(uow: UnitOfWork) -> tuple[object, Session | None]:
            """Revoke the token's session if `revoked`, else rotate it, and save it if that has changed it.

            Return what find() returned, and the session as it was before; None for both if the token is unknown.
            """
            found = await uow.sessions.find(hash_token(token))
            if found is None:
                return None, None
            session = await uow.sessions.get_for_update(found[0])
            before = copy(session)
            if revoked:
                session.revoke()
            else:
                session.rotate(hash_token(token), hash_token(successor), self.clock())
            if session.version != before.version:
                await uow.sessions.save(session)
            return found, before

        self.step(rotate_or_revoke)
        self.known_tokens.add(successor)
        return successor

    @rule(subjects=st.lists(values.subjects, unique=True, min_size=1), failed=st.booleans(), settled=st.booleans())
    @in_unit
    def count_attempts(self, subjects: list[bytes], failed: bool, settled: bool) -> None:
        """Count an attempt to sign in for each of these subjects; if `settled`, also whether it has `failed`.

        It is refused if one of the subjects has three recent failures, and not counted for a subject that would have
        three if all its pending attempts failed.
        """
        self.known_subjects.update(subjects)
        at = self.clock()

        async def count(uow: UnitOfWork) -> list[Any]:
            """Admit an attempt for each subject, with a limit of 3; return the LoginAttempts as they were before.

            If `settled`, each admitted attempt is settled, too. Only changed ones are stored. Raise TooManyAttempts if
            a subject has 3 recent failures.
            """
            attempts = await uow.attempts.get_for_update(*subjects)
            before = [copy(counted) for counted in attempts]
            for counted in attempts:
                if counted.admit(at, limit=3) and settled:
                    counted.settle(at, failed=failed)
            changed = [now for now, then in zip(attempts, before, strict=True) if now.version != then.version]
            if changed:
                await uow.attempts.save(*changed)
            return before

        self.step(count)

    # Readers

    @rule(user=people)
    def read_user(self, user: User) -> None:
        """Read a user by id, e-mail address and username on both stores; the results must be equal.

        The id is given to the reader and to the use case ReadAccount, the other two are given to find_by_login().
        """
        self.run_on_both(lambda use_cases: use_cases.store.users.get(user.id))
        self.run_on_both(lambda use_cases: use_cases.read_account(user.id))
        self.run_on_both(lambda use_cases: use_cases.store.users.find_by_login(user.email))
        self.run_on_both(lambda use_cases: use_cases.store.users.find_by_login(user.username))

    @rule(limit=values.limits, skip=values.skips, after=maybe(people), count=st.booleans())
    def list_users(self, limit: int, skip: int, after: User | None, count: bool) -> None:
        """Read a page of all users on both stores; the results must be equal.

        The page has up to `limit` users, those after the user `after`, or after the first `skip` ones if that is None.
        """
        position = Position(after.id, after.id) if after else None
        self.run_on_both(lambda use_cases: use_cases.store.users.page(_window(limit, skip, position, count)))

    @rule(target=things, item=things)
    def read_item(self, item: Item) -> "Item | MultipleResults[Item]":
        """Read an item on both stores; the results must be equal. Return it if it exists."""
        return self._remember_item(self.run_on_both(lambda use_cases: use_cases.store.items.get(item.id)))

    @rule(
        owner=maybe(people),
        prices=st.tuples(st.none() | values.prices, st.none() | values.prices),
        sort=values.item_sorts,
        limit=values.limits,
        skip=values.skips,
        after=maybe(things),
        count=st.booleans(),
    )
    def list_items(
        self,
        owner: User | None,
        prices: tuple[Decimal | None, Decimal | None],
        sort: Sort[Any],
        limit: int,
        skip: int,
        after: Item | None,
        count: bool,
    ) -> None:
        """Read a page of items on both stores; the results must be equal.

        The items are those of `owner`, or of all users if that is None, and their prices are from the first to the
        second of `prices`, where None is no limit. The page has up to `limit` items, those after the item `after`, or
        after the first `skip` ones if that is None.
        """
        filter = ItemFilter(owner.id if owner else None, *prices)
        position = Position(getattr(after, sort.by), after.id) if after else None
        self._compare_items(filter, sort, _window(limit, skip, position, count))

    def _compare_items(self, filter: ItemFilter, sort: Sort[Any], window: Window) -> None:
        """Read a page of items on both stores; raise Difference unless the results are equal."""
        self.run_on_both(lambda use_cases: use_cases.store.items.page(filter, sort, window))

    @rule(item=things, limit=values.limits, skip=values.skips, after=st.none() | st.integers(1, 3), count=st.booleans())
    def list_transfers(self, item: Item, limit: int, skip: int, after: int | None, count: bool) -> None:
        """Read a page of an item's transfers on both stores; the results must be equal.

        The page begins after the transfer with the number `after`, or after the first `skip` ones if that is None. It
        is not read if there is no transfer with that number.
        """
        position = None
        if after is not None:
            history = self.run_on_both(lambda use_cases: use_cases.store.transfers.page(item.id, EVERYTHING)).answer
            if history is None or len(history.items) < after:
                return
            position = Position(after, history.items[after - 1].id)
        self.run_on_both(
            lambda use_cases: use_cases.store.transfers.page(item.id, _window(limit, skip, position, count))
        )

    @rule(task=tasks, by=maybe(people, rarely=True))
    def read_task(self, task: Task, by: User | None) -> None:
        """Read a task on both stores as the user `by`, or as its owner if that is None; the results must be equal."""
        self.run_on_both(lambda use_cases: use_cases.store.tasks.get(task.id, by.id if by else task.owner_id))

    @rule(
        owner=people,
        status=st.none() | values.statuses,
        created_after=maybe(tasks),
        sort=values.task_sorts,
        limit=values.limits,
        skip=values.skips,
        after=maybe(tasks),
        count=st.booleans(),
    )
    def list_tasks(
        self,
        owner: User,
        status: TaskStatus | None,
        created_after: Task | None,
        sort: Sort[Any],
        limit: int,
        skip: int,
        after: Task | None,
        count: bool,
    ) -> None:
        """Read a page of a user's tasks on both stores; the results must be equal.

        The tasks have this status and were created after the task `created_after`; None is no condition. The page has
        up to `limit` tasks, those after the task `after`, or after the first `skip` ones if that is None.
        """
        filter = TaskFilter(owner.id, status, created_after.created_at if created_after else None)
        position = Position(getattr(after, sort.by), after.id) if after else None
        self._compare_tasks(filter, sort, _window(limit, skip, position, count))

    def _compare_tasks(self, filter: TaskFilter, sort: Sort[Any], window: Window) -> None:
        """Read a page of tasks on both stores; raise Difference unless the results are equal."""
        self.run_on_both(lambda use_cases: use_cases.store.tasks.page(filter, sort, window))

    # At the end

    def teardown(self) -> None:
        """Roll back the unit of work that is still open; compare the whole stores, unless they have differed before.

        If they have, the unit of work is only cancelled, since it may be in the middle of a step.
        """
        for opened in self.unit.units if self.unit else ():
            self.loop.run_until_complete(opened.exit_with_error() if self.agreed else opened.cancel())
        if self.agreed:
            self._compare_everything()

    def _compare_everything(self) -> None:
        """Compare all records of both stores; raise Difference if any differ.

        Items are compared in every order and with several limits of the price, the tasks of each user in the order of
        their titles. Sessions, log-in attempts, keys, transfers and the number of records that a purge removes are
        compared, too, and check_histories() is called. This changes both stores: the purge removes records, and
        transfers are added.
        """
        self.run_on_both(lambda use_cases: use_cases.store.users.page(EVERYTHING))
        for sort in values.ITEM_SORTS:
            self._compare_items(ItemFilter(), sort, EVERYTHING)
        for price in LOWEST, DIME, HIGHEST:
            self._compare_items(ItemFilter(min_price=price), Sort("price"), EVERYTHING)
            self._compare_items(ItemFilter(max_price=price), Sort("price"), EVERYTHING)
        for user in self.known_users.values():
            self._compare_tasks(TaskFilter(user.id), Sort("title"), EVERYTHING)
        for item in self.known_items.values():
            self.run_on_both(lambda use_cases, item=item: use_cases.store.transfers.page(item.id, EVERYTHING))  # type: ignore[misc]
        for token in sorted(self.known_tokens):
            self._compare_session(hash_token(token))
        self._read_in_unit(lambda uow: uow.attempts.get_for_update(*sorted(self.known_subjects)))
        for key, age in product(sorted(self.known_keys, key=repr), AGES):
            self._read_in_unit(_claim(key, b"one request", self.clock() + age))
        for use_cases in self.both_stores:
            self.loop.run_until_complete(check_histories(use_cases.store))
        for age in AGES:
            self._purge(self.clock() + age)
        for item in self.known_items.values():  # last, because it leaves transfers behind that never happened
            self._compare_transfer_numbers(item)

    def _compare_session(self, token_hash: bytes) -> None:
        """Compare what both stores know of a refresh token and its session; raise Difference if it differs."""

        async def session(uow: UnitOfWork) -> tuple[object, Session | None]:
            """Return what find() returns, and the session, or None if the token is unknown."""
            found = await uow.sessions.find(token_hash)
            return found, await uow.sessions.get_for_update(found[0]) if found else None

        self._read_in_unit(session)

    def _compare_transfer_numbers(self, item: Item) -> None:
        """Compare which of the numbers 1 to 3 are taken by transfers of the item, by adding a transfer of each number.

        This also shows the transfers of removed items, whose history cannot be read. Each unit of work is committed,
        because an engine may notice a number that is taken as late as that.
        """
        for number in range(1, 4):
            transfer = Transfer(
                id=TransferId(next(self.ids)),
                item_id=item.id,
                number=number,
                from_user_id=item.owner_id,
                to_user_id=NOBODY,
                version=item.version + number,
                transferred_at=self.clock(),
            )
            add = _add(transfer)
            self.run_on_both(lambda use_cases, add=add: run(use_cases.store, add))  # type: ignore[misc]

    def _read_in_unit(self, step: Step[T]) -> None:
        """Run the step in a unit of work on each store and roll back; raise Difference if the outcomes differ."""

        async def look(use_cases: UseCases) -> T:
            """Return the result of the step, and leave its unit of work without a commit."""
            async with use_cases.store.begin() as uow:
                return await step(uow)

        self.run_on_both(look)

    # Records that later operations are about

    def _remember_user(self, user: User | None) -> User:
        """Remember the user, who must not be None, for later comparisons, and return it."""
        assert user
        self.known_users[user.id] = user
        return user

    def _remember_item(self, found: Outcome[OwnedItem]) -> "Item | MultipleResults[Item]":
        """Remember the item for later comparisons and return it; return no result if the call was refused."""
        if found.answer is None:
            return multiple()
        item = found.answer.item
        self.known_items[item.id] = item
        return item

    def _caller(self, user: User | None, item: Item) -> UserId:
        """Return the id of this user; if it is None, that of the item's owner, as the item was last seen."""
        return user.id if user else self.known_items[item.id].owner_id

    def _remember_token(self, signed_in: Outcome[Any]) -> "str | MultipleResults[str]":
        """Remember the refresh token for later comparisons and return it; return no result if the call was refused."""
        if signed_in.answer is None:
            return multiple()
        token: str = signed_in.answer.refresh_token
        self.known_tokens.add(token)
        return token

    def _note_subjects(self, user: User | None, login: str, address: str) -> None:
        """Remember the subjects under which an attempt may be stored, to compare their attempts at the end.

        They are the user's account, if there is one, the login as it counts if no account has it, and the client's
        network.
        """
        texts = [f"name {normalize_identifier(login)}", f"address {throttled_network(address)}"]
        texts += [f"account {user.id}"] if user else []
        self.known_subjects.update(map(hash_subject, texts))

    def _key(self, caller: UserId, operation: str, key: str) -> KeyId:
        """Return this idempotency key, and remember it for later comparisons."""
        id = KeyId(caller, operation, key)
        self.known_keys.add(id)
        return id

    def _with_key(
        self, call: Awaitable[T], caller: UserId, operation: str, key: tuple[str, bytes] | None
    ) -> Awaitable[T]:
        """Return the call, to be made with `key`, an idempotency key and fingerprint; unchanged if that is None.

        Remember the key for later comparisons.
        """
        if key is None:
            return call
        return with_idempotency_key(call, self._key(caller, operation, key[0]), key[1])

    def _open_unit(self, steps: int, ending: str) -> None:
        """Open a unit of work on both stores, which is to end in this way (COMMIT, EXIT, RAISE) after so many steps."""

        async def begin() -> list[OpenUnit]:
            """Return an open unit of work of each store. Asynchronous, because OpenUnit needs a running event loop."""
            return [OpenUnit(use_cases.store.begin) for use_cases in self.both_stores]

        self.unit = Unit(self.loop.run_until_complete(begin()), steps, ending)


def _expected(version: int, offsets: tuple[int, ...] | None) -> set[int] | None:
    """Return the versions that a conditional change accepts: `version` plus each offset; None if unconditional."""
    return None if offsets is None else {version + offset for offset in offsets}


def _window(limit: int, skip: int, after: Position | None, count: bool) -> Window:
    """Return the window; with a position `after`, `skip` does not count."""
    return Window(limit, 0 if after else skip, after, count)


def _all_results(results: "Iterable[T | MultipleResults[T]]") -> "MultipleResults[T]":
    """Return the results of those calls that had one; the result of a refused call is a MultipleResults."""
    return multiple(*[result for result in results if not isinstance(result, MultipleResults)])


def _result_if_any(found: Outcome[T]) -> "T | MultipleResults[T]":
    """Return the result, or an empty MultipleResults, which adds nothing to a bundle, if the call was refused."""
    return multiple() if found.answer is None else found.answer


async def _commit(uow: UnitOfWork) -> None:
    await uow.commit()


def _claim(key: KeyId, fingerprint: bytes, at: datetime) -> Step[bytes | None]:
    """Return the step that claims this key, for KEY_LIFETIME; it waits up to a second for another claim to end."""
    return lambda uow: uow.keys.claim(key, fingerprint, at=at, lifetime=KEY_LIFETIME, max_wait=1)


def _add(transfer: Transfer) -> Step[None]:
    """Return the step that adds this transfer."""
    return lambda uow: uow.transfers.add(transfer)


async def run(store: Store, step: Step[None]) -> None:
    """Run this one step in a unit of work, and commit."""
    async with store.begin() as uow:
        await step(uow)
        await uow.commit()


def compare_with_memory(
    fresh: Callable[[], Awaitable[Store]],
    loop: asyncio.AbstractEventLoop,
    effort: settings,
    random_seed: int | None = None,
) -> None:
    """Run random operations on an empty store from `fresh()` and in memory; raise Difference at the first difference.

    Hypothesis then shortens the operations and prints them as a program. `fresh()` is called for each sequence of them.
    Runs on `loop`, which must not be running. `random_seed` decides which operations are tried; if it is None, `effort`
    does.
    """

    def machine() -> Differential:
        return Differential(loop, fresh)

    run_state_machine_as_test(  # it accepts functions, too
        machine if random_seed is None else seed(random_seed)(machine),  # type: ignore[arg-type]
        settings=effort,
    )
