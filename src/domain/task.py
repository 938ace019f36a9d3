"""Tasks: a private to-do list."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, Self, TypedDict
from uuid import UUID

from domain.errors import NotFound
from domain.text import checked_description, checked_name
from domain.user import UserId
from domain.version import Expected, expect

TaskId = NewType("TaskId", UUID)

TITLE_LENGTH = 200


class TaskStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class TaskChanges(TypedDict, total=False):
    title: str
    description: str | None
    status: TaskStatus


@dataclass(slots=True, kw_only=True)
class Task:
    """Something that one user means to do, and nobody else knows of."""

    id: TaskId
    owner_id: UserId
    title: str
    description: str | None
    status: TaskStatus
    created_at: datetime
    version: int = 1

    @classmethod
    def plan(
        cls, *, id: TaskId, owner_id: UserId, title: str, description: str | None, status: TaskStatus, at: datetime
    ) -> Self:
        return cls(
            id=id,
            owner_id=owner_id,
            title=checked_name("title", title, at_most=TITLE_LENGTH),
            description=checked_description(description),
            status=status,
            created_at=at,
        )

    def permit(self, by: UserId, expected: Expected) -> None:
        """Somebody else's task is answered exactly as a missing one."""
        if by != self.owner_id:
            raise NotFound("task-not-found", "there is no such task")
        expect(self.version, expected)

    def change(self, changes: TaskChanges, *, by: UserId, expected: Expected = None) -> bool:
        """Whether anything is now different; what is not different is not a new version."""
        self.permit(by, expected)
        before = (self.title, self.description, self.status)
        if "title" in changes:
            self.title = checked_name("title", changes["title"], at_most=TITLE_LENGTH)
        if "description" in changes:
            self.description = checked_description(changes["description"])
        if "status" in changes:
            self.status = changes["status"]
        changed = before != (self.title, self.description, self.status)
        self.version += changed
        return changed
