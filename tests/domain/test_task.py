import pytest

from domain.errors import DomainError, Invalid, NotFound, Stale
from domain.task import Task, TaskChanges, TaskId, TaskStatus
from domain.user import UserId
from domain.version import ExpectedVersions
from interfaces.testing.builders import NOON, a_task, a_user, new_id

ADA, GRACE = a_user(), a_user()


def test_a_task_is_planned_as_given() -> None:
    task = Task.create(
        id=TaskId(new_id()), owner_id=ADA.id, title="💡" * 200, description="", status=TaskStatus.CANCELLED, at=NOON
    )
    assert (task.title, task.description, task.status, task.version) == ("💡" * 200, "", "cancelled", 1)


@pytest.mark.parametrize(("title", "description"), [(" ", None), ("x" * 201, None), ("x", "\0"), ("x", "x" * 2_001)])
def test_a_faulty_task_is_refused(title: str, description: str | None) -> None:
    with pytest.raises(Invalid):
        Task.create(
            id=TaskId(new_id()),
            owner_id=ADA.id,
            title=title,
            description=description,
            status=TaskStatus.PENDING,
            at=NOON,
        )


@pytest.mark.parametrize(
    "changes", [TaskChanges(title="Polish"), TaskChanges(description=None), TaskChanges(status=TaskStatus.COMPLETED)]
)
def test_a_change_makes_a_new_version_once(changes: TaskChanges) -> None:
    task = a_task(ADA, title="Dust", description="Weekly", status=TaskStatus.PENDING)
    assert task.change(changes, by=ADA.id, expected={1})
    assert not task.change(changes, by=ADA.id)
    assert task.version == 2


@pytest.mark.parametrize(
    ("by", "expected", "refusal"),
    [(GRACE.id, {9}, NotFound), (ADA.id, {9}, Stale), (ADA.id, frozenset(), Stale)],
)
def test_somebody_elses_task_is_missing_before_it_is_stale(
    by: UserId, expected: ExpectedVersions, refusal: type[DomainError]
) -> None:
    task = a_task(ADA)
    with pytest.raises(refusal):
        task.change({}, by=by, expected=expected)
    assert task == a_task(ADA, id=task.id)
