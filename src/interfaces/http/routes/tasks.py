"""Routes for tasks: the to-do list of the signed-in user."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field, Strict

from application.paging import Sort
from application.readers import TaskFilter, TaskReader
from application.use_cases.tasks import ChangeTask, CreateTask, DeleteTask
from domain.task import MAX_TITLE_LENGTH, Task, TaskChanges, TaskId, TaskStatus
from domain.text import checked_name
from interfaces.http.conditional import IfMatch, IfNoneMatch, answer_unless_known, etag
from interfaces.http.idempotency import WithIdempotency
from interfaces.http.openapi.annotations import (
    ETAG,
    NEXT_PAGE,
    NOT_MODIFIED,
    PageOut,
    Timestamp,
    id_schema,
    problem_responses,
    response_headers,
)
from interfaces.http.openapi.examples import TASK_ID
from interfaces.http.paging.listing import SORT, ListFormat, PageQuery, Paging, parse_sort
from interfaces.http.responses.answers import Answer, format_timestamp, json_answer
from interfaces.http.routing.auth import Caller
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.fields import WHOLE_NUMBER, Description, QueryTime
from interfaces.http.validation.models import ABSENT, InputModel, domain_rule
from interfaces.http.validation.patterns import NAME

Title = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TITLE_LENGTH, examples=["Oil the chain"], json_schema_extra=NAME),
    AfterValidator(domain_rule(checked_name, "title", max_length=MAX_TITLE_LENGTH)),
]
Status = Annotated[TaskStatus, Strict(False)]  # in strict mode, a text would not be accepted as a status


class TaskIn(InputModel):
    """The fields of a task to be created."""

    title: Title
    description: Description | None = None
    status: Status = TaskStatus.PENDING


class TaskChangesIn(InputModel):
    """Changes of a task. Fields that are absent stay as they are; `null` removes the description."""

    title: Title = ABSENT
    description: Description | None = ABSENT
    status: Status = ABSENT


class TaskOut(BaseModel):
    """A task of the caller's list."""

    id: Annotated[str, id_schema(TASK_ID)]
    title: str
    description: str | None
    status: TaskStatus
    created_at: Timestamp
    version: int


class DeletedTaskOut(BaseModel):
    """Confirms that a task was removed."""

    message: Literal["Task deleted successfully"]
    task_id: Annotated[str, id_schema(TASK_ID)]


def task_out(task: Task) -> dict[str, Any]:
    """Return the task as TaskOut describes it."""
    return {
        "id": str(task.id),
        "title": task.title,
        "description": task.description,
        "status": task.status,
        "created_at": format_timestamp(task.created_at),
        "version": task.version,
    }


def task_answer(task: Task) -> Answer:
    """Return the answer 200 with the task and its entity tag."""
    return json_answer(task_out(task), etag=etag(task.version))


def created_task_answer(task: Task) -> Answer:
    """Return the answer 201 with the new task, its entity tag and its location."""
    return json_answer(task_out(task), 201, etag=etag(task.version), location=f"/tasks/{task.id}")


TASKS = ListFormat({"id": UUID, "created_at": datetime, "title": str}, task_out)
Tasks = Annotated[TaskReader, Depends(use(TaskReader))]
CHANGED = {**response_headers(200, ETag=ETAG), **problem_responses("account-inactive", "task-not-found")}


class TaskQuery(PageQuery):
    """The query parameters of the list of tasks."""

    status: TaskStatus | None = None
    created_after: QueryTime | None = None
    sort: Annotated[Literal["created_at", "-created_at", "title", "-title"] | None, SORT] = None


class RecentTaskQuery(PageQuery):
    """The query parameters of the list of tasks created within the last `days` days."""

    days: Annotated[int, WHOLE_NUMBER] = Field(7, ge=1, le=365, description="How many days back.")


router = new_router("tasks")


@router.post(
    "/tasks",
    status_code=201,
    response_model=TaskOut,
    responses={**response_headers(201, ETag=ETAG, Location="The task."), **problem_responses("account-inactive")},
    summary="Add a task to your list",
)
async def create_task(
    body: TaskIn, idempotency: WithIdempotency, create: Annotated[CreateTask, Depends(use(CreateTask))]
) -> Response:
    """Add a task to the caller's list.

    A request with an `Idempotency-Key` can be sent again safely: it creates one task and returns the same answer.
    """
    creating = create(by=idempotency.caller, title=body.title, description=body.description, status=body.status)
    return await idempotency.run(creating, answer=created_task_answer, body=body)


@router.get(
    "/tasks",
    response_model=PageOut[TaskOut],
    responses=response_headers(200, Link=NEXT_PAGE),
    summary="Your tasks",
)
async def list_tasks(request: Request, caller: Caller, query: Annotated[TaskQuery, Query()], tasks: Tasks) -> Response:
    """Return a page of the caller's tasks, only those of `status` and only those after `created_after` if given.

    Without `sort`, the order is that of creation. A task created exactly at `created_after` is left out.
    """
    wanted = TaskFilter(caller, query.status, query.created_after)
    listing = query.listing(request, TASKS, parse_sort(query.sort), **asdict(wanted))
    return listing.response(await tasks.page(wanted, listing.sort, listing.window))


@router.get(
    "/tasks/by-status/{status}",
    response_model=PageOut[TaskOut],
    responses=response_headers(200, Link=NEXT_PAGE),
    summary="Your tasks of one status",
)
async def list_tasks_by_status(
    request: Request, status: TaskStatus, caller: Caller, paging: Paging, tasks: Tasks
) -> Response:
    """Return a page of the caller's tasks of one status, in the order of their creation."""
    wanted = TaskFilter(caller, status)
    listing = paging.listing(request, TASKS, Sort("id"), **asdict(wanted))
    return listing.response(await tasks.page(wanted, listing.sort, listing.window))


@router.get(
    "/tasks/recent",
    response_model=PageOut[TaskOut],
    responses=response_headers(200, Link=NEXT_PAGE),
    summary="Your tasks of the last few days",
)
async def list_recent_tasks(
    request: Request, caller: Caller, query: Annotated[RecentTaskQuery, Query()], tasks: Tasks
) -> Response:
    """Return a page of the caller's tasks created within the last `days` times 24 hours, in the order of creation."""
    listing = query.listing(  # named by the days and not by the cut-off, which moves with the clock
        request, TASKS, Sort("id"), owner_id=caller, days=query.days
    )
    wanted = TaskFilter(caller, created_after=request.app.state.now() - timedelta(days=query.days))
    return listing.response(await tasks.page(wanted, listing.sort, listing.window))


@router.get(
    "/tasks/{task_id}",
    response_model=TaskOut,
    responses={
        **response_headers(200, ETag=ETAG),
        **NOT_MODIFIED,
        **problem_responses("task-not-found"),
    },
    summary="One task",
)
async def read_task(task_id: UUID, caller: Caller, tasks: Tasks, known: IfNoneMatch) -> Response:
    """Return one of the caller's tasks, or 304 if `If-None-Match` has its current `ETag`.

    A task of somebody else is 404, as one that does not exist.
    """
    return answer_unless_known(known, task_answer(await tasks.get(TaskId(task_id), caller)))


@router.put(
    "/tasks/{task_id}",
    name="put_task",
    response_model=TaskOut,
    responses=CHANGED,
    summary="Change a task; absent fields stay as they are",
)
@router.patch("/tasks/{task_id}", response_model=TaskOut, responses=CHANGED, summary="Change a task")
async def change_task(
    *,
    task_id: UUID,
    body: TaskChangesIn,
    caller: Caller,
    expected: IfMatch,
    change: Annotated[ChangeTask, Depends(use(ChangeTask))],
) -> Response:
    """Change the given fields of one of the caller's tasks, and return the task. PUT and PATCH do the same.

    A task of somebody else is 404, as one that does not exist. A change that changes nothing leaves the version as it
    is. If the version is no longer that in `If-Match`, the answer is 412 and nothing is changed.
    """
    changes = cast(TaskChanges, body.model_dump())
    return task_answer(await change(TaskId(task_id), changes, by=caller, expected=expected)).response()


@router.delete(
    "/tasks/{task_id}",
    response_model=DeletedTaskOut,
    responses=problem_responses("account-inactive", "task-not-found"),
    summary="Remove a task from your list",
)
async def delete_task(
    task_id: UUID, caller: Caller, expected: IfMatch, delete: Annotated[DeleteTask, Depends(use(DeleteTask))]
) -> Response:
    """Remove one of the caller's tasks, and return its id with a message (status 200).

    A task of somebody else is 404, as one that does not exist. If the version is no longer that in `If-Match`, the
    answer is 412 and nothing is removed.
    """
    await delete(TaskId(task_id), by=caller, expected=expected)
    return json_answer({"message": "Task deleted successfully", "task_id": task_id}).response()
