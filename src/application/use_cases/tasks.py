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
    """Add a task to one's own list.

    - Unauthenticated if the caller's account is not active or was deleted; Invalid if a field is not valid.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self, *, by: UserId, title: str, description: str | None, status: TaskStatus) -> Task:
        """Store a new task of the user `by` and return it."""
        id = TaskId(self.ids())

        async def add(uow: UnitOfWork) -> Task:
            """Check that the owner is active, then add the task."""
            owner = await hold_active_user(uow, by)
            task = Task.create(
                id=id,
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

    - Only while the caller's account is active: else Unauthenticated.
    - Another user's task is answered like one that does not exist: NotFound.
    - The caller may say which versions the change is meant for: Stale if the task has another one.
    - Invalid if a new value is not valid.
    - If no field gets another value, nothing is stored and the version stays the same.
    """

    transact: Transact

    async def __call__(
        self, task_id: TaskId, changes: TaskChanges, *, by: UserId, expected: ExpectedVersions = None
    ) -> Task:
        """Return the task as it is after the change."""

        async def change(uow: UnitOfWork) -> Task:
            """Check the caller's account, the owner and the version; store the task if a field got another value."""
            await hold_active_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            if task.change(changes, by=by, expected=expected):
                await uow.tasks.save(task)
            return task

        return await self.transact(change)


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Remove one of one's own tasks.

    - Only while the caller's account is active: else Unauthenticated.
    - Another user's task is answered like one that does not exist: NotFound.
    - The caller may say which versions they mean: Stale if the task has another one.
    """

    transact: Transact

    async def __call__(self, task_id: TaskId, *, by: UserId, expected: ExpectedVersions = None) -> None:
        async def remove(uow: UnitOfWork) -> None:
            """Check the caller and the versions, then remove the task."""
            await hold_active_user(uow, by)
            task = await uow.tasks.get_for_update(task_id)
            task.check_owner_and_version(by, expected)
            await uow.tasks.remove(task)

        await self.transact(remove)
