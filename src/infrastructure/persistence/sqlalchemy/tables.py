"""The tables, for both engines. The migrations lead to exactly this schema (tests/test_migrations.py)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.types import TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
HIGHEST_CENTS = 999_999_999_999


class Instant(TypeDecorator[datetime]):
    """A point in time, with a time zone.

    On PostgreSQL it is a TIMESTAMPTZ. SQLite has no such type, so there it is an integer: milliseconds since 1970, UTC.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the dialect."""
        kind: TypeEngine[Any] = BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | int | None:
        """Return the value to store, on SQLite rounded down to milliseconds; None for None.

        Raise ValueError for a time without a time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return (value - EPOCH) // MILLISECOND if dialect.name == "sqlite" else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return the function that converts SQLite's milliseconds; None on PostgreSQL, whose driver converts."""
        return _to_datetime if dialect.name == "sqlite" else None


def _to_datetime(value: int | None) -> datetime | None:
    """Return the point in time, in UTC, that so many milliseconds since 1970 mean; None for None."""
    return None if value is None else EPOCH + value * MILLISECOND


class Instants(TypeDecorator[tuple[datetime, ...]]):
    """Several points in time in one column, as a JSON list of milliseconds since 1970. They cannot be queried."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[datetime, ...] | None, dialect: Dialect) -> list[int] | None:
        """Return the milliseconds since 1970 of each time, which are stored; None for None."""
        return None if value is None else [(moment - EPOCH) // MILLISECOND for moment in value]

    def process_result_value(self, value: list[int] | None, dialect: Dialect) -> tuple[datetime, ...] | None:
        """Return the points in time of a stored list."""
        return None if value is None else tuple(EPOCH + number * MILLISECOND for number in value)


def sorted_text() -> Text:
    """Return a text type that is compared and sorted by code point, whatever the language settings of the database."""
    return Text().with_variant(Text(collation="C"), "postgresql")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", sorted_text(), nullable=False, unique=True),
    Column("username", sorted_text(), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    CheckConstraint("version >= 1", "version"),
)

items = Table(
    "items",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", sorted_text(), nullable=False),
    Column("description", Text),
    # In cents, so that sums, order and filters are exact on every engine.
    Column("price", BigInteger, nullable=False),
    Column("owner_id", Uuid, ForeignKey("users.id", ondelete="RESTRICT"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("transfers", Integer, nullable=False),
    CheckConstraint(f"price BETWEEN 0 AND {HIGHEST_CENTS}", "price"),
    CheckConstraint("version >= 1", "version"),
    CheckConstraint("transfers >= 0", "transfers"),
    # One for each sort, with and without the owner: a page is a piece of an index, however long the list is. A range of
    # prices is one too if the list is sorted by price. In any other order a page takes a scan of the (owner's) list up
    # to its end at worst, or on PostgreSQL of the items in the range if they are fewer: hence the price in these
    # indexes, so that the scan has no need of the table. Where the order is by id alone, the primary key has to do.
    Index(None, "price", "id"),
    Index(None, "created_at", "id", "price"),
    Index(None, "name", "id", "price"),
    Index(None, "owner_id", "id", "price"),
    Index(None, "owner_id", "price", "id"),
    Index(None, "owner_id", "created_at", "id", "price"),
    Index(None, "owner_id", "name", "id", "price"),
)

# No foreign keys: transfers are kept after their items and users have been deleted.
transfers = Table(
    "transfers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("item_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("from_user_id", Uuid, nullable=False),
    Column("to_user_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("transferred_at", Instant, nullable=False),
    UniqueConstraint("item_id", "number"),
    CheckConstraint("number >= 1", "number"),
    CheckConstraint("version >= 2", "version"),
)

# Tasks and sessions are removed with their user. The application does so itself, for engines without foreign keys.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("title", sorted_text(), nullable=False),
    Column("description", Text),
    Column("status", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    CheckConstraint("status IN ('pending', 'in_progress', 'completed', 'cancelled')", "status"),
    CheckConstraint("version >= 1", "version"),
    # As for items: one for each sort, with and without the status. What was created after some time is a piece of an
    # index if sorted by that; in any other order it takes a scan of the owner's tasks (of that status) at worst.
    Index(None, "owner_id", "id", "created_at"),
    Index(None, "owner_id", "created_at", "id"),
    Index(None, "owner_id", "title", "id", "created_at"),
    Index(None, "owner_id", "status", "id", "created_at"),
    Index(None, "owner_id", "status", "created_at", "id"),
    Index(None, "owner_id", "status", "title", "id", "created_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("token_hash", LargeBinary, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("revoked", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    CheckConstraint("version >= 1", "version"),
)

# All tokens that a session ever had, so that a used one is recognized.
session_tokens = Table(
    "session_tokens",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
)

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("failed", Instants, nullable=False),
    Column("pending", Instants, nullable=False),
    Column("version", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    CheckConstraint("version >= 0", "version"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("expires_at", Instant, nullable=False, index=True),
    PrimaryKeyConstraint("caller", "operation", "key"),
)
