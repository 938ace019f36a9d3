"""The collections as Beanie documents, with their indexes.

Documents are used for writing, because they refuse values that would be read back differently, such as a time without a
zone. Reading takes the stored fields as they are. Ids are binary UUIDs, which MongoDB sorts like their text form.
Prices are in cents.
"""

from uuid import UUID

from beanie import Document
from pydantic import AwareDatetime
from pymongo import IndexModel


class UserDocument(Document):
    """A user."""

    id: UUID  # type: ignore[assignment]
    email: str
    username: str
    password_hash: str
    is_active: bool
    created_at: AwareDatetime
    version: int

    class Settings:
        name = "users"
        indexes = (
            IndexModel("email", name="users_email", unique=True),
            IndexModel("username", name="users_username", unique=True),
        )


class ItemDocument(Document):
    """An item, with a copy of its owner's username."""

    id: UUID  # type: ignore[assignment]
    name: str
    description: str | None
    cents: int
    owner_id: UUID
    owner_username: str
    """A copy, so that reading an item needs no look-up of its owner. Usernames never change."""
    created_at: AwareDatetime
    version: int
    transfers: int

    class Settings:
        name = "items"
        # One for each sort order, with and without the owner, so that every page is one range of an index.
        indexes = (
            IndexModel(["created_at", "_id"], name="items_created_at"),
            IndexModel(["cents", "_id"], name="items_cents"),
            IndexModel(["name", "_id"], name="items_name"),
            IndexModel(["owner_id", "_id"], name="items_owner_id_id"),
            IndexModel(["owner_id", "created_at", "_id"], name="items_owner_id_created_at"),
            IndexModel(["owner_id", "cents", "_id"], name="items_owner_id_cents"),
            IndexModel(["owner_id", "name", "_id"], name="items_owner_id_name"),
        )


class TransferDocument(Document):
    """A transfer in the history of an item."""

    id: UUID  # type: ignore[assignment]
    item_id: UUID
    number: int
    from_user_id: UUID
    to_user_id: UUID
    version: int
    transferred_at: AwareDatetime

    class Settings:
        name = "transfers"
        indexes = (IndexModel(["item_id", "number"], name="transfers_item_id_number", unique=True),)


class TaskDocument(Document):
    """A task."""

    id: UUID  # type: ignore[assignment]
    owner_id: UUID
    title: str
    description: str | None
    status: str
    created_at: AwareDatetime
    version: int

    class Settings:
        name = "tasks"
        # One for each sort order, with and without the status, as for items.
        indexes = (
            IndexModel(["owner_id", "_id"], name="tasks_owner_id_id"),
            IndexModel(["owner_id", "created_at", "_id"], name="tasks_owner_id_created_at"),
            IndexModel(["owner_id", "title", "_id"], name="tasks_owner_id_title"),
            IndexModel(["owner_id", "status", "_id"], name="tasks_owner_id_status_id"),
            IndexModel(["owner_id", "status", "created_at", "_id"], name="tasks_owner_id_status_created_at"),
            IndexModel(["owner_id", "status", "title", "_id"], name="tasks_owner_id_status_title"),
        )


class SessionDocument(Document):
    """A session, with the hash of its current token."""

    id: UUID  # type: ignore[assignment]
    user_id: UUID
    token_hash: bytes
    expires_at: AwareDatetime
    revoked: bool
    version: int

    class Settings:
        name = "sessions"
        indexes = (
            IndexModel("user_id", name="sessions_user_id"),
            IndexModel("expires_at", name="sessions_expires_at"),
        )


class TokenDocument(Document):
    """The hash of a token that a session has or had.

    It is not a list in the session's document, which would reach MongoDB's size limit if a client kept refreshing.
    """

    id: bytes  # type: ignore[assignment]
    session_id: UUID
    user_id: UUID
    expires_at: AwareDatetime

    class Settings:
        name = "tokens"
        indexes = (
            IndexModel("user_id", name="tokens_user_id"),
            IndexModel("expires_at", name="tokens_expires_at"),
        )


class AttemptsDocument(Document):
    """The recent log-in attempts of a subject. Its id is the subject, which is a hash."""

    id: bytes  # type: ignore[assignment]
    failed: list[AwareDatetime]
    pending: list[AwareDatetime]
    version: int
    expires_at: AwareDatetime

    class Settings:
        name = "attempts"
        indexes = (IndexModel("expires_at", name="attempts_expires_at"),)


class KeyDocument(Document):
    """An idempotency key; its id is the caller, the operation and the key."""

    id: dict[str, UUID | str]  # type: ignore[assignment]
    fingerprint: bytes
    expires_at: AwareDatetime
    answer: bytes | None = None

    class Settings:
        name = "keys"
        indexes = (IndexModel("expires_at", name="keys_expires_at"),)


DOCUMENTS: tuple[type[Document], ...] = (
    UserDocument,
    ItemDocument,
    TransferDocument,
    TaskDocument,
    SessionDocument,
    TokenDocument,
    AttemptsDocument,
    KeyDocument,
)
