import pytest

from application.ports import Begin, Ids
from application.store import Store
from application.transact import Transact
from application.use_cases.tasks import ChangeTask, CreateTask, DeleteTask
from domain.errors import NotFound, Stale, Unauthenticated
from domain.task import Task, TaskStatus
from domain.user import User
from interfaces.testing.builders import NOON, a_task, a_user
from interfaces.testing.clock_and_ids import SetClock


@pytest.fixture
def create_task(transact: Transact, ids: Ids, clock: SetClock) -> CreateTask:
    return CreateTask(transact, ids, clock)


@pytest.fixture
def change_task(transact: Transact) -> ChangeTask:
    return ChangeTask(transact)


@pytest.fixture
def delete_task(transact: Transact) -> DeleteTask:
    return DeleteTask(transact)


async def signed_up(begin: Begin, *, is_active: bool = True) -> User:
    user = a_user(is_active=is_active)
    async with begin() as uow:
        await uow.users.add(user)
        await uow.commit()
    return user


@pytest.fixture
async def ada(begin: Begin) -> User:
    return await signed_up(begin)


@pytest.fixture
async def dust(create_task: CreateTask, ada: User) -> Task:
    return await create_task(by=ada.id, title="Dust", description=None, status=TaskStatus.PENDING)


async def test_a_task_is_on_its_owners_list(dust: Task, ada: User, store: Store) -> None:
    assert await store.tasks.get(dust.id, ada.id) == dust
    assert (dust.created_at, dust.version) == (NOON, 1)


async def test_a_task_changes_and_goes(
    dust: Task, change_task: ChangeTask, delete_task: DeleteTask, ada: User, store: Store
) -> None:
    changed = await change_task(dust.id, {"status": TaskStatus.COMPLETED}, by=ada.id, expected={1})
    assert (changed.status, changed.version) == (TaskStatus.COMPLETED, 2)
    assert await change_task(dust.id, {"status": TaskStatus.COMPLETED}, by=ada.id) == changed
    with pytest.raises(Stale):
        await delete_task(dust.id, by=ada.id, expected={1})
    await delete_task(dust.id, by=ada.id, expected={2})
    with pytest.raises(NotFound):
        await store.tasks.get(dust.id, ada.id)


async def test_somebody_elses_task_is_a_missing_one(
    dust: Task, change_task: ChangeTask, delete_task: DeleteTask, begin: Begin, store: Store
) -> None:
    grace = await signed_up(begin)
    for task_id in (dust.id, a_task(grace).id):
        for attempt in (
            change_task(task_id, {"title": "Mine"}, by=grace.id),
            delete_task(task_id, by=grace.id),
            store.tasks.get(task_id, grace.id),
        ):
            with pytest.raises(NotFound) as refusal:
                await attempt
            assert refusal.value.args == ("task-not-found", "there is no such task")


async def test_only_active_users_write(
    create_task: CreateTask, change_task: ChangeTask, delete_task: DeleteTask, begin: Begin, dust: Task
) -> None:
    gone = await signed_up(begin, is_active=False)
    for attempt in (
        create_task(by=gone.id, title="Dust", description=None, status=TaskStatus.PENDING),
        change_task(dust.id, {}, by=gone.id),
        delete_task(dust.id, by=gone.id),
    ):
        with pytest.raises(Unauthenticated):
            await attempt
