"""Tasks: each user's own to-do list."""

from dataclasses import dataclass

from application.callers import acting_user
from application.ports import Clock, Ids, UnitOfWork
from application.transact import Transact
from domain.task import Task, TaskChanges, TaskId, TaskStatus
from domain.user import UserId
from domain.version import Expected


@dataclass(frozen=True, slots=True)
class CreateTask:
    """Put a task on one's own list."""

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, *, by: UserId, title: str, description: str | None, status: TaskStatus) -> Task:
        async def work(uow: UnitOfWork) -> Task:
            owner = await acting_user(uow, by)
            task = Task.plan(
                id=TaskId(self.ids()),
                owner_id=owner.id,
                title=title,
                description=description,
                status=status,
                at=self.now(),
            )
            await uow.tasks.add(task)
            return task

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class ChangeTask:
    """Change a task of one's own.

    - Somebody else's is as good as missing.
    - What changes nothing makes no new version.
    """

    transact: Transact

    async def __call__(self, task_id: TaskId, changes: TaskChanges, *, by: UserId, expected: Expected = None) -> Task:
        async def work(uow: UnitOfWork) -> Task:
            await acting_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            if task.change(changes, by=by, expected=expected):
                await uow.tasks.save(task)
            return task

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Take a task off one's own list.

    - Somebody else's is as good as missing.
    """

    transact: Transact

    async def __call__(self, task_id: TaskId, *, by: UserId, expected: Expected = None) -> None:
        async def work(uow: UnitOfWork) -> None:
            await acting_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            task.permit(by, expected)
            await uow.tasks.remove(task)

        await self.transact(work)
