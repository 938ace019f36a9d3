"""Tasks, sessions and log-in attempts; indexes for lists in every order, and for purging."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SORTED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")

INDEXES = [
    ("items", ["price", "id"]),
    ("items", ["created_at", "id", "price"]),
    ("items", ["name", "id", "price"]),
    ("items", ["owner_id", "id", "price"]),
    ("items", ["owner_id", "price", "id"]),
    ("items", ["owner_id", "created_at", "id", "price"]),
    ("items", ["owner_id", "name", "id", "price"]),
    ("idempotency_keys", ["expires_at"]),
]
"""Of tables that are in use."""
NO_LONGER = [("items", ["owner_id"])]
"""Those that begin with the owner do its work."""


def upgrade() -> None:
    exchange_indexes(INDEXES, NO_LONGER)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("title", SORTED_TEXT, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_tasks_owner_id_users"), ondelete="CASCADE"),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'cancelled')", name=op.f("ck_tasks_status")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_tasks_version")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users"), ondelete="CASCADE"),
        sa.CheckConstraint("version >= 1", name=op.f("ck_sessions_version")),
    )
    op.create_table(
        "session_tokens",
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_session_tokens")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_session_tokens_session_id_sessions"), ondelete="CASCADE"
        ),
    )
    op.create_table(
        "login_attempts",
        sa.Column("subject", sa.LargeBinary, nullable=False),
        sa.Column("failed", sa.JSON, nullable=False),
        sa.Column("pending", sa.JSON, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_attempts")),
        sa.CheckConstraint("version >= 0", name=op.f("ck_login_attempts_version")),
    )
    for table, columns in [
        ("tasks", ["owner_id", "id", "created_at"]),
        ("tasks", ["owner_id", "created_at", "id"]),
        ("tasks", ["owner_id", "title", "id", "created_at"]),
        ("tasks", ["owner_id", "status", "id", "created_at"]),
        ("tasks", ["owner_id", "status", "created_at", "id"]),
        ("tasks", ["owner_id", "status", "title", "id", "created_at"]),
        ("sessions", ["user_id"]),
        ("sessions", ["expires_at"]),
        ("session_tokens", ["session_id"]),
        ("login_attempts", ["expires_at"]),
    ]:
        op.create_index(name_of(table, columns), table, columns)


def downgrade() -> None:
    exchange_indexes(NO_LONGER, INDEXES)
    op.drop_table("login_attempts")
    op.drop_table("session_tokens")
    op.drop_table("sessions")
    op.drop_table("tasks")


def name_of(table: str, columns: list[str]) -> str:
    return op.f(f"ix_{table}_{'_'.join(columns)}")


def exchange_indexes(new: list[tuple[str, list[str]]], old: list[tuple[str, list[str]]]) -> None:
    """Nobody has to wait for it on PostgreSQL, where it is no transaction, and can be repeated if it is cut short."""
    if op.get_context().dialect.name != "postgresql":
        for table, columns in new:
            op.create_index(name_of(table, columns), table, columns)
        for table, columns in old:
            op.drop_index(name_of(table, columns), table)
        return
    with op.get_context().autocommit_block():
        half_made = set() if op.get_context().as_sql else set(op.get_bind().scalars(sa.text(HALF_MADE)))
        for table, columns in new:
            name = name_of(table, columns)
            if name in half_made:
                op.drop_index(name, table, postgresql_concurrently=True)
            op.create_index(name, table, columns, if_not_exists=True, postgresql_concurrently=True)
        for table, columns in old:
            op.drop_index(name_of(table, columns), table, if_exists=True, postgresql_concurrently=True)


HALF_MADE = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
"""What is left of an index that was cut short. It would count as there."""
