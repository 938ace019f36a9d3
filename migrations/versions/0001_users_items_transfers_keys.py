"""Users, items, their transfers, and idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SORTED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")


def upgrade() -> None:
    # Of two names that are taken the address is to be named. PostgreSQL looks at the oldest index first, SQLite at the
    # newest.
    names = ["username", "email"] if op.get_context().dialect.name == "sqlite" else ["email", "username"]
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("email", SORTED_TEXT, nullable=False),
        sa.Column("username", SORTED_TEXT, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        *(sa.UniqueConstraint(name, name=op.f(f"uq_users_{name}")) for name in names),
        sa.CheckConstraint("version >= 1", name=op.f("ck_users_version")),
    )
    op.create_table(
        "items",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", SORTED_TEXT, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("transfers", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_items_owner_id_users"), ondelete="RESTRICT"),
        sa.CheckConstraint("price BETWEEN 0 AND 999999999999", name=op.f("ck_items_price")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_items_version")),
        sa.CheckConstraint("transfers >= 0", name=op.f("ck_items_transfers")),
    )
    op.create_index(op.f("ix_items_owner_id"), "items", ["owner_id"])
    op.create_table(
        "transfers",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("item_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("from_user_id", sa.Uuid, nullable=False),
        sa.Column("to_user_id", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("transferred_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("item_id", "number", name=op.f("uq_transfers_item_id_number")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_transfers_number")),
        sa.CheckConstraint("version >= 2", name=op.f("ck_transfers_version")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Uuid, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("caller", "operation", "key", name=op.f("pk_idempotency_keys")),
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("transfers")
    op.drop_table("items")
    op.drop_table("users")
