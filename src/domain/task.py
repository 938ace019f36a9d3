"""Tasks: each user has a private to-do list."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, Self, TypedDict
from uuid import UUID

from domain.errors import NotFound
from domain.text import checked_description, checked_name
from domain.user import UserId
from domain.version import ExpectedVersions, check_version

TaskId = NewType("TaskId", UUID)

MAX_TITLE_LENGTH = 200


class TaskStatus(StrEnum):
    """The states of a task. Every change from one to another is allowed."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class TaskChanges(TypedDict, total=False):
    """New values of a task's fields. Fields that are absent stay as they are; None removes the description."""

    title: str
    description: str | None
    status: TaskStatus


@dataclass(slots=True, kw_only=True)
class Task:
    """An entry of a user's private to-do list. Nobody else can read it or learn that it exists."""

    id: TaskId
    owner_id: UserId
    title: str
    description: str | None
    status: TaskStatus
    created_at: datetime
    version: int = 1

    @classmethod
    def create(
        cls, *, id: TaskId, owner_id: UserId, title: str, description: str | None, status: TaskStatus, at: datetime
    ) -> Self:
        """Create a task on its owner's list; raise Invalid if a field is not valid."""
        return cls(
            id=id,
            owner_id=owner_id,
            title=checked_name("title", title, max_length=MAX_TITLE_LENGTH),
            description=checked_description(description),
            status=status,
            created_at=at,
        )

    def check_owner_and_version(self, by: UserId, expected: ExpectedVersions) -> None:
        """Raise NotFound if `by` is not the owner, then Stale if `expected` excludes the current version.

        NotFound, so that another user's task cannot be told from a task that does not exist.
        """
        if by != self.owner_id:
            raise NotFound("task-not-found", "there is no such task")
        check_version(self.version, expected)

    def change(self, changes: TaskChanges, *, by: UserId, expected: ExpectedVersions = None) -> bool:
        """Apply the changes; return True and raise the version by 1 if a field has another value than before.

        Raise as check_owner_and_version() does, then Invalid if a new value is not valid.
        """
        self.check_owner_and_version(by, expected)
        before = (self.title, self.description, self.status)
        if "title" in changes:
            self.title = checked_name("title", changes["title"], max_length=MAX_TITLE_LENGTH)
        if "description" in changes:
            self.description = checked_description(changes["description"])
        if "status" in changes:
            self.status = changes["status"]
        changed = before != (self.title, self.description, self.status)
        self.version += changed
        return changed
