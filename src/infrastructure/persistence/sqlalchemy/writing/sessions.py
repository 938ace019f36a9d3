"""The repositories of a unit of work for sessions, with all their tokens, and for log-in attempts."""

from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from application.errors import TryAgain
from domain.errors import require
from domain.session import LoginAttempts, Session, SessionId
from domain.user import UserId
from infrastructure.persistence.sqlalchemy.engines.transaction import CHANGED_MEANWHILE, Transaction
from infrastructure.persistence.sqlalchemy.rows import attempts_from, row_from_attempts, row_from_session, session_from
from infrastructure.persistence.sqlalchemy.tables import login_attempts, session_tokens, sessions
from infrastructure.persistence.sqlalchemy.writing.repositories import save_statement

INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}

ADD_SESSION = insert(sessions).returning(sessions.c.id)
ADD_TOKEN = {dialect: insert(session_tokens).on_conflict_do_nothing() for dialect, insert in INSERT.items()}
FIND_SESSION = (
    select(sessions.c.id, sessions.c.user_id)
    .join(session_tokens, session_tokens.c.session_id == sessions.c.id)
    .where(session_tokens.c.token_hash == bindparam("token_hash"))
)
SESSION_FOR_UPDATE = select(sessions).where(sessions.c.id == bindparam("id")).with_for_update()
SAVE_SESSION = save_statement(sessions, "id", "user_id", "expires_at")
REVOKE_SESSIONS = (
    update(sessions)
    .where(sessions.c.user_id == bindparam("of_user"), sessions.c.revoked.is_(False))
    .values(revoked=True, version=sessions.c.version + 1)
)
REMOVE_SESSIONS = delete(sessions).where(sessions.c.user_id == bindparam("of_user"))


@cache
def lock_attempts(dialect: str, count: int) -> Any:
    """Return a statement that inserts so many empty attempts, or locks those that exist, and returns all their rows.

    The update on conflict changes nothing; it makes the engine lock and return the existing row.
    """
    locking = _upsert(dialect, count)
    return locking.on_conflict_do_update(
        index_elements=[login_attempts.c.subject], set_={"version": login_attempts.c.version}
    ).returning(login_attempts)


@cache
def save_attempts(dialect: str, count: int) -> Any:
    """Return a statement that inserts or updates `count` LoginAttempts, and returns the subject of each stored one.

    One is not stored if the version in the database is the same or newer. The rows have been locked by lock_attempts(),
    so that this only guards against mistakes.
    """
    saving = _upsert(dialect, count)
    changing = {column.name: saving.excluded[column.name] for column in login_attempts.c if not column.primary_key}
    return saving.on_conflict_do_update(
        index_elements=[login_attempts.c.subject],
        set_=changing,
        where=login_attempts.c.version < saving.excluded.version,
    ).returning(login_attempts.c.subject)


def _upsert(dialect: str, count: int) -> Any:
    """Return an INSERT of so many rows, to which the caller adds the ON CONFLICT clause.

    Its parameters are named as by _numbered().
    """
    rows = [
        {column.name: bindparam(f"{column.name}_{number}", type_=column.type) for column in login_attempts.c}
        for number in range(count)
    ]
    return INSERT[dialect](login_attempts).values(rows)


def _numbered(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values of all rows as parameters named by column and row, such as `subject_0` and `subject_1`."""
    return {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}


class SqlSessions:
    """Stores sessions and the hashes of their tokens within a unit of work (port SessionRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def add(self, session: Session) -> None:
        """Store a new session and its token hash."""
        await self.transaction.change(ADD_SESSION, row_from_session(session))
        await self._add_token(session)

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Return the session and user of a token's hash, even of a replaced token; None if the hash is unknown."""
        row = await self.transaction.fetch_one(FIND_SESSION, {"token_hash": token_hash})
        return (row["id"], row["user_id"]) if row else None

    async def get_for_update(self, session_id: SessionId) -> Session:
        """Return the session, locked until the unit of work ends; raise NotFound if there is none."""
        row = await self.transaction.fetch_one(SESSION_FOR_UPDATE, {"id": session_id})
        return session_from(require(row, "session"))

    async def save(self, session: Session) -> None:
        """Store a changed session and its token hash; raise TryAgain if the stored version is not `version - 1`."""
        expected = {"which": session.id, "expected": session.version - 1}
        await self.transaction.change(SAVE_SESSION, row_from_session(session) | expected)
        await self._add_token(session)

    async def revoke_all(self, user_id: UserId) -> None:
        """Revoke all sessions of the user; the version of each that was not revoked yet grows by one."""
        await self.transaction.fetch(REVOKE_SESSIONS, {"of_user": user_id})

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all sessions of the user; the database removes their tokens with them."""
        await self.transaction.fetch(REMOVE_SESSIONS, {"of_user": user_id})

    async def _add_token(self, session: Session) -> None:
        """Store the session's current token hash, unless it is stored already."""
        token = {"token_hash": session.token_hash, "session_id": session.id}
        await self.transaction.fetch(ADD_TOKEN[self.transaction.dialect], token)


class SqlAttempts:
    """Stores recent log-in attempts within a unit of work (port LoginAttemptRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        """Return the attempts of each subject, in the order of the arguments, locked until the unit of work ends.

        For a subject without a row, one with empty attempts is inserted, so that it can be locked.
        """
        new = [row_from_attempts(LoginAttempts(subject=subject)) for subject in sorted(set(subjects))]
        rows = await self.transaction.fetch(lock_attempts(self.transaction.dialect, len(new)), _numbered(new))
        found = {row["subject"]: row for row in rows}
        return [attempts_from(found[subject]) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        """Store changed attempts; raise TryAgain if another unit of work has changed one of them meanwhile."""
        changed = [row_from_attempts(counter) for counter in attempts]
        saving = save_attempts(self.transaction.dialect, len(changed))
        if len(await self.transaction.fetch(saving, _numbered(changed))) != len(changed):
            self.transaction.failed = True
            raise TryAgain(CHANGED_MEANWHILE)
