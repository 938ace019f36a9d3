"""Tasks: changes of a user's own to-do list."""

from dataclasses import dataclass

from application.ports import Clock, Ids, UnitOfWork
from application.transact import Transact
from application.use_cases.callers import hold_active_user
from domain.task import Task, TaskChanges, TaskId, TaskStatus
from domain.user import UserId
from domain.version import ExpectedVersions


@dataclass(frozen=True, slots=True)
class CreateTask:
    """Add a task to one's own list."""

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, *, by: UserId, title: str, description: str | None, status: TaskStatus) -> Task:
        async def add(uow: UnitOfWork) -> Task:
            owner = await hold_active_user(uow, by)
            task = Task.create(
                id=TaskId(self.ids()),
                owner_id=owner.id,
                title=title,
                description=description,
                status=status,
                at=self.now(),
            )
            await uow.tasks.add(task)
            return task

        return await self.transact(add)


@dataclass(frozen=True, slots=True)
class ChangeTask:
    """Change one of one's own tasks.

    - Only while the caller's account is active.
    - Another user's task is answered like one that does not exist.
    - If no field gets another value, the version stays the same.
    """

    transact: Transact

    async def __call__(
        self, task_id: TaskId, changes: TaskChanges, *, by: UserId, expected: ExpectedVersions = None
    ) -> Task:
        async def change(uow: UnitOfWork) -> Task:
            await hold_active_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            if task.change(changes, by=by, expected=expected):
                await uow.tasks.save(task)
            return task

        return await self.transact(change)


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Remove one of one's own tasks.

    - Only while the caller's account is active.
    - Another user's task is answered like one that does not exist.
    """

    transact: Transact

    async def __call__(self, task_id: TaskId, *, by: UserId, expected: ExpectedVersions = None) -> None:
        async def remove(uow: UnitOfWork) -> None:
            await hold_active_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            task.check_owner_and_version(by, expected)
            await uow.tasks.remove(task)

        await self.transact(remove)
