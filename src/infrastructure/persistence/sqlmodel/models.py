"""The table models. Their metadata equals the schema that the migrations make (tests/test_migrations.py).

A table model is a row, and nothing else: it is neither an entity of the domain nor a body of the API, so that rules and
answers can change without the schema. `rows` converts between rows and entities.

Relationships are never loaded by accident, which would take a query for each row: they have `lazy="raise"`, so that a
query has to say what it loads (`joinedload`, `selectinload`). With `passive_deletes="all"` removing a row leaves the
rows that refer to it to the foreign keys of the database.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Dialect, Index, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import Mapped, declared_attr, registry
from sqlmodel import Field, MetaData, Relationship, SQLModel

from infrastructure.persistence.sqlalchemy.rows import cents
from infrastructure.persistence.sqlalchemy.tables import HIGHEST_CENTS, Instant, Instants, metadata, sorted_text


class Cents(TypeDecorator[Decimal]):
    """A price, stored in cents, so that sums, order and filters are exact on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Return the number of cents to store; None for None."""
        return None if value is None else cents(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        """Return the price of a stored number of cents."""
        return None if value is None else Decimal(value).scaleb(-2)


class TableModel(SQLModel, registry=registry(metadata=MetaData(naming_convention=metadata.naming_convention))):
    """The base class of all table models, with metadata that name constraints and indexes as the migrations do."""


class VersionedModel(TableModel):
    """The base class of rows with optimistic locking.

    SQLAlchemy changes or deletes such a row only if it still has the version that was read, and raises StaleDataError
    otherwise. The new version comes from the entity.
    """

    version: int

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        """Return the options for SQLAlchemy's mapper: which column is the version, and that we set it ourselves."""
        return {"version_id_col": cls.version, "version_id_generator": False}


def children(back_populates: str) -> Any:
    """Return a relationship to the rows that refer to this one, as a list.

    It can be read only if the query has loaded it; otherwise SQLAlchemy raises InvalidRequestError. `back_populates` is
    the attribute of those rows that refers back. If this row is removed, SQLAlchemy does nothing about them; the
    foreign key in the database decides.
    """
    return Relationship(back_populates=back_populates, passive_deletes="all", sa_relationship_kwargs={"lazy": "raise"})


def parent(back_populates: str) -> Any:
    """Return a relationship to the row that this one refers to.

    It can be read only if the query has loaded it; otherwise SQLAlchemy raises InvalidRequestError. `back_populates` is
    the attribute of that row that lists those that refer to it.
    """
    return Relationship(back_populates=back_populates, sa_relationship_kwargs={"lazy": "raise"})


class UserRow(VersionedModel, table=True):
    """A row of the table of users."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("version >= 1", "version"),)

    id: UUID = Field(primary_key=True)
    email: str = Field(sa_type=sorted_text(), unique=True)
    username: str = Field(sa_type=sorted_text(), unique=True)
    password_hash: str = Field(sa_type=Text)
    is_active: bool
    created_at: datetime = Field(sa_type=Instant)

    items: Mapped[list["ItemRow"]] = children("owner")
    tasks: Mapped[list["TaskRow"]] = children("owner")
    sessions: Mapped[list["SessionRow"]] = children("user")


class ItemRow(VersionedModel, table=True):
    """A row of the table of items."""

    __tablename__ = "items"
    __table_args__ = (
        CheckConstraint(f"price BETWEEN 0 AND {HIGHEST_CENTS}", "price"),
        CheckConstraint("version >= 1", "version"),
        CheckConstraint("transfers >= 0", "transfers"),
        Index(None, "price", "id"),
        Index(None, "created_at", "id", "price"),
        Index(None, "name", "id", "price"),
        Index(None, "owner_id", "id", "price"),
        Index(None, "owner_id", "price", "id"),
        Index(None, "owner_id", "created_at", "id", "price"),
        Index(None, "owner_id", "name", "id", "price"),
    )

    id: UUID = Field(primary_key=True)
    name: str = Field(sa_type=sorted_text())
    description: str | None = Field(sa_type=Text)
    price: Decimal = Field(sa_type=Cents)
    owner_id: UUID = Field(foreign_key="users.id", ondelete="RESTRICT")
    created_at: datetime = Field(sa_type=Instant)
    transfers: int

    owner: Mapped[UserRow] = parent("items")


class TransferRow(TableModel, table=True):
    """A row of the history, without foreign keys: transfers are kept after their items and users have been deleted."""

    __tablename__ = "transfers"
    __table_args__ = (
        UniqueConstraint("item_id", "number"),
        CheckConstraint("number >= 1", "number"),
        CheckConstraint("version >= 2", "version"),
    )

    id: UUID = Field(primary_key=True)
    item_id: UUID
    number: int
    from_user_id: UUID
    to_user_id: UUID
    version: int
    transferred_at: datetime = Field(sa_type=Instant)


class TaskRow(VersionedModel, table=True):
    """A row of the table of tasks."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'in_progress', 'completed', 'cancelled')", "status"),
        CheckConstraint("version >= 1", "version"),
        Index(None, "owner_id", "id", "created_at"),
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "owner_id", "title", "id", "created_at"),
        Index(None, "owner_id", "status", "id", "created_at"),
        Index(None, "owner_id", "status", "created_at", "id"),
        Index(None, "owner_id", "status", "title", "id", "created_at"),
    )

    id: UUID = Field(primary_key=True)
    owner_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    title: str = Field(sa_type=sorted_text())
    description: str | None = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=Instant)

    owner: Mapped[UserRow] = parent("tasks")


class SessionRow(VersionedModel, table=True):
    """A row of the table of sessions."""

    __tablename__ = "sessions"
    __table_args__ = (CheckConstraint("version >= 1", "version"),)

    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    token_hash: bytes
    expires_at: datetime = Field(sa_type=Instant, index=True)
    revoked: bool

    user: Mapped[UserRow] = parent("sessions")
    tokens: Mapped[list["TokenRow"]] = children("session")


class TokenRow(TableModel, table=True):
    """The hash of a refresh token that a session has or had."""

    __tablename__ = "session_tokens"

    token_hash: bytes = Field(primary_key=True)
    session_id: UUID = Field(foreign_key="sessions.id", ondelete="CASCADE", index=True)

    session: Mapped[SessionRow] = parent("tokens")


class AttemptsRow(VersionedModel, table=True):
    """A row of the table of log-in attempts."""

    __tablename__ = "login_attempts"
    __table_args__ = (CheckConstraint("version >= 0", "version"),)

    subject: bytes = Field(primary_key=True)
    failed: tuple[datetime, ...] = Field(sa_type=Instants)
    pending: tuple[datetime, ...] = Field(sa_type=Instants)
    expires_at: datetime = Field(sa_type=Instant, index=True)


class KeyRow(TableModel, table=True):
    """A row of the table of idempotency keys."""

    __tablename__ = "idempotency_keys"

    caller: UUID = Field(primary_key=True)
    operation: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    fingerprint: bytes
    answer: bytes | None
    expires_at: datetime = Field(sa_type=Instant, index=True)
