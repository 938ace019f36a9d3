"""Tasks are stored as they are given, and only their owner can read them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from application.ports import Begin, UnitOfWork
from application.readers import TaskReader
from domain.errors import NotFound
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, require_active
from interfaces.certification.overlapping import COMMITTED, TRY_AGAIN, Meanwhile, attempt, insert, overlap
from interfaces.testing.builders import a_task, new_id


@pytest.fixture
async def dust(begin: Begin, ada: User) -> Task:
    """Ada's."""
    task = a_task(ada)
    await insert(begin, task)
    return task


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "💡" * 200},
        {"title": "e\u0301 is not é"},
        {"description": None},
        {"description": ""},
        {"description": "ä" * 2_000},
        *({"status": status} for status in TaskStatus),
        {"created_at": datetime(2026, 3, 29, 1, 30, 0, 1_000, tzinfo=UTC)},
        {"version": 2_147_483_647},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
async def test_a_task_comes_back_as_it_was(fields: dict[str, Any], ada: User, begin: Begin, tasks: TaskReader) -> None:
    task = a_task(ada, **fields)
    await insert(begin, task)
    read = await tasks.get(task.id, ada.id)
    assert read == task
    assert type(read.status) is TaskStatus
    async with begin() as uow:
        assert await uow.tasks.get_for_update(task.id) == task


async def test_a_changed_task_comes_back_changed(ada: User, dust: Task, begin: Begin, tasks: TaskReader) -> None:
    other = a_task(ada)
    await insert(begin, other)
    changed = replace(dust, title="Polish", description=None, status=TaskStatus.CANCELLED, version=2)
    async with begin() as uow:
        await uow.tasks.get_for_update(dust.id)
        await uow.tasks.save(changed)
        assert await uow.tasks.get_for_update(dust.id) == changed
        await uow.commit()
    assert await tasks.get(dust.id, ada.id) == changed
    assert await tasks.get(other.id, ada.id) == other


async def test_nobody_else_reads_a_task(dust: Task, grace: User, tasks: TaskReader) -> None:
    for task_id in (dust.id, TaskId(new_id())):
        with pytest.raises(NotFound) as refusal:
            await tasks.get(task_id, grace.id)
        assert refusal.value.args == ("task-not-found", "there is no such task")


async def test_a_removed_task_is_gone(ada: User, dust: Task, begin: Begin, tasks: TaskReader) -> None:
    async with begin() as uow:
        await uow.tasks.remove(await uow.tasks.get_for_update(dust.id))
        await uow.commit()
    with pytest.raises(NotFound):
        await tasks.get(dust.id, ada.id)
    with pytest.raises(NotFound) as refusal:
        async with begin() as uow:
            await uow.tasks.get_for_update(dust.id)
    assert refusal.value.code == "task-not-found"


async def test_a_users_tasks_go_together_and_nobody_elses(
    ada: User, grace: User, dust: Task, begin: Begin, tasks: TaskReader
) -> None:
    other, hers = a_task(ada), a_task(grace)
    await insert(begin, other, hers)
    async with begin() as uow:
        await uow.users.get_for_update(ada.id)
        await uow.tasks.remove_all(ada.id)
        await uow.commit()
    for task in (dust, other):
        with pytest.raises(NotFound):
            await tasks.get(task.id, ada.id)
    assert await tasks.get(hers.id, grace.id) == hers


async def finish(uow: UnitOfWork, task_id: TaskId) -> None:
    task = await uow.tasks.get_for_update(task_id)
    await uow.tasks.save(replace(task, status=TaskStatus.COMPLETED, version=task.version + 1))


async def test_an_outdated_task_is_neither_saved_nor_removed(dust: Task, begin: Begin) -> None:
    await attempt(begin, lambda uow: finish(uow, dust.id))
    assert await attempt(begin, lambda uow: uow.tasks.save(replace(dust, title="second", version=2))) == TRY_AGAIN
    assert await attempt(begin, lambda uow: uow.tasks.remove(dust)) == TRY_AGAIN


async def test_of_two_units_that_change_one_task_one_has_to_wait_or_try_again(
    ada: User, dust: Task, begin: Begin, tasks: TaskReader
) -> None:
    async def slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        task = await uow.tasks.get_for_update(dust.id)
        await meanwhile()
        await uow.tasks.save(replace(task, title="Slowly", version=task.version + 1))

    result = await overlap(begin, slowly, lambda uow: finish(uow, dust.id))
    assert {result.first, result.second} <= {COMMITTED, TRY_AGAIN}
    assert (await tasks.get(dust.id, ada.id)).version == 1 + result.committed


async def test_whoever_is_being_removed_gets_no_task(grace: User, begin: Begin, tasks: TaskReader) -> None:
    task = a_task(grace)

    async def remove_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        user = await uow.users.get_for_update(grace.id)
        await uow.tasks.remove_all(user.id)
        await meanwhile()
        await uow.users.remove(user)

    async def plan(uow: UnitOfWork) -> None:
        require_active((await uow.users.hold(grace.id)).get(grace.id))
        await uow.tasks.add(task)

    ended = await overlap(begin, remove_slowly, plan)

    assert ended.committed == 1
    if ended.first == COMMITTED:
        with pytest.raises(NotFound):
            await tasks.get(task.id, grace.id)
