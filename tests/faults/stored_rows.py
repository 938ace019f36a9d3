"""What each revision of the schema stored, written down as it was, to be upgraded by every later one.

A new revision gets an entry of its own, with rows of all its tables; the entries of earlier ones are never changed.
Ada has the lamp, and Grace, who is inactive, the vase after three transfers. Ada has registered a lamp with a key.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

Rows = dict[str, list[dict[str, Any]]]
"""Rows by the name of their table or collection."""

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
NOON_IN_MILLISECONDS = 1_795_348_800_123


def _id(number: int) -> UUID:
    return UUID(f"00000000-{number:04x}-7000-8000-000000000000")


ADA, GRACE, LAMP, VASE = _id(2), _id(4), _id(5), _id(6)
TASK, SESSION = _id(10), _id(11)
PASSWORD = "correct horse battery"
PASSWORD_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$YuDXeAcAws2DdiBZXMHfdA$qcwVlJThHCuMyRTv6yOn27PSC7UiN/FPU0eHxKXodMQ"  # of PASSWORD
)
KEY = "lamp"
REQUEST = {"name": "Lamp", "price": 19.99}
"""What Ada sent to POST /items with KEY."""
ANSWER_BODY = (
    b'{"id":"01a22a7a-639d-7625-8a7f-55e409a56602","name":"Lamp","description":null,"price":19.99,'
    b'"owner_id":"00000000-0002-7000-8000-000000000000",'
    b'"owner":{"id":"00000000-0002-7000-8000-000000000000","username":"ada"},'
    b'"created_at":"2026-11-22T12:00:00.123Z","version":1}'
)
ANSWER = b'[201, "\\"1\\"", "/items/01a22a7a-639d-7625-8a7f-55e409a56602"]\n' + ANSWER_BODY
FINGERPRINT = bytes.fromhex("5ca4b98f67183d4448391cae80d4f266a58446b949d31dded37873ca3f8e9f13")
REFRESH_TOKEN = "a refresh token of revision 0002"
TOKEN_HASH = bytes.fromhex("12afd5a410e73534e39a8955ca17c5c5ec492f4e73432f835c8519c31f599d62")

USERS: list[dict[str, Any]] = [
    {
        "id": ADA,
        "email": "ada@example.org",
        "username": "ada",
        "password_hash": PASSWORD_HASH,
        "is_active": True,
        "created_at": NOON,
        "version": 1,
    },
    {
        "id": GRACE,
        "email": "grace@example.org",
        "username": "grace",
        "password_hash": PASSWORD_HASH,
        "is_active": False,
        "created_at": NOON,
        "version": 2,
    },
]
ITEMS: list[dict[str, Any]] = [
    {
        "id": LAMP,
        "name": "Lamp",
        "description": "Brass, with a green shade",
        "price": 1999,
        "owner_id": ADA,
        "created_at": NOON,
        "version": 1,
        "transfers": 0,
    },
    {
        "id": VASE,
        "name": "Vase",
        "description": None,
        "price": 1999,
        "owner_id": GRACE,
        "created_at": NOON,
        "version": 7,
        "transfers": 3,
    },
]
TRANSFERS: list[dict[str, Any]] = [
    {
        "id": _id(6 + number),
        "item_id": VASE,
        "number": number,
        "from_user_id": from_id,
        "to_user_id": to_id,
        "version": 2 * number,
        "transferred_at": NOON,
    }
    for number, from_id, to_id in ((1, ADA, GRACE), (2, GRACE, ADA), (3, ADA, GRACE))
]
TASKS: list[dict[str, Any]] = [
    {
        "id": TASK,
        "owner_id": ADA,
        "title": "Dust the lamp",
        "description": "Not the shade",
        "status": "in_progress",
        "created_at": NOON,
        "version": 1,
    }
]
SESSIONS: list[dict[str, Any]] = [
    {
        "id": SESSION,
        "user_id": ADA,
        "token_hash": TOKEN_HASH,
        "expires_at": NOON + timedelta(days=30),
        "revoked": False,
        "version": 1,
    }
]
KEY_FIELDS = {"fingerprint": FINGERPRINT, "answer": ANSWER, "expires_at": NOON + timedelta(days=1)}

TABLES_1: Rows = {
    "users": USERS,
    "items": ITEMS,
    "transfers": TRANSFERS,
    "idempotency_keys": [{"caller": ADA, "operation": "POST /items", "key": KEY, **KEY_FIELDS}],
}
TABLES_2: Rows = TABLES_1 | {
    "tasks": TASKS,
    "sessions": SESSIONS,
    "session_tokens": [{"token_hash": TOKEN_HASH, "session_id": SESSION}],
    "login_attempts": [
        {
            "subject": b"s" * 32,
            "failed": [NOON_IN_MILLISECONDS],
            "pending": [],
            "version": 2,
            "expires_at": NOON + timedelta(minutes=15),
        }
    ],
}
TABLES = {"0001": TABLES_1, "0002": TABLES_2}
"""The rows of SQL databases, by revision."""


def _with_underscore(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with `_id` in place of `id`."""
    return [{"_id": row["id"]} | {name: value for name, value in row.items() if name != "id"} for row in rows]


DOCUMENTS_1: Rows = {
    "users": _with_underscore(USERS),
    "items": [
        {name: value for name, value in row.items() if name != "price"}
        | {"cents": row["price"], "owner_username": "ada" if row["owner_id"] == ADA else "grace"}
        for row in _with_underscore(ITEMS)
    ],
    "transfers": _with_underscore(TRANSFERS),
    "keys": [{"_id": {"caller": ADA, "operation": "POST /items", "key": KEY}, **KEY_FIELDS}],
}
DOCUMENTS_2: Rows = DOCUMENTS_1 | {
    "tasks": _with_underscore(TASKS),
    "sessions": _with_underscore(SESSIONS),
    "tokens": [
        {"_id": TOKEN_HASH, "session_id": SESSION, "user_id": ADA, "expires_at": NOON + timedelta(days=30)},
    ],
    "attempts": [
        {"_id": b"s" * 32, "failed": [NOON], "pending": [], "version": 2, "expires_at": NOON + timedelta(minutes=15)}
    ],
}
DOCUMENTS = {"1": DOCUMENTS_1, "2": DOCUMENTS_2}
"""The documents of MongoDB, by revision."""
