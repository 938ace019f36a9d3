"""The repositories of a unit of work for sessions, with all their tokens, and for log-in attempts."""

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import require
from domain.session import LoginAttempts, Session, SessionId
from domain.user import UserId
from infrastructure.persistence.sqlmodel.models import AttemptsRow, SessionRow, TokenRow
from infrastructure.persistence.sqlmodel.rows import attempts_from, row_from_attempts, row_from_session, session_from
from infrastructure.persistence.sqlmodel.upserts import insert_into
from infrastructure.persistence.sqlmodel.writing.versioned import add, change, flush, keep, lock


class SqlModelSessions:
    """Stores sessions and the hashes of their tokens within a unit of work (port SessionRepository).

    It is given an ORM session, which has nothing to do with the sessions that it stores.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, session: Session) -> None:
        """Store a new session and its token hash."""
        row = row_from_session(session)
        row.tokens.append(TokenRow(token_hash=session.token_hash, session_id=session.id))
        await add(self.session, row)

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Return the session and user of a token's hash, even of a replaced token; None if the hash is unknown."""
        statement = select(SessionRow).join(TokenRow).where(TokenRow.token_hash == token_hash)
        row = (await self.session.exec(statement)).one_or_none()
        return (SessionId(row.id), UserId(row.user_id)) if row else None

    async def get_for_update(self, session_id: SessionId) -> Session:
        """Return the session, locked until the unit of work ends; raise NotFound if there is none."""
        row = await lock(self.session, SessionRow, session_id)
        return session_from(require(row, "session"))

    async def save(self, session: Session) -> None:
        """Store a changed session, and its token hash in addition to its former ones.

        Raise TryAgain if the stored version is not `version - 1`.
        """
        await change(self.session, row_from_session(session), session.id, expected=[session.version - 1])
        await self.session.merge(TokenRow(token_hash=session.token_hash, session_id=session.id))
        await flush(self.session)

    async def revoke_all(self, user_id: UserId) -> None:
        """Revoke all sessions of the user that are not revoked yet, which increases their versions."""
        await self.session.exec(
            update(SessionRow)
            .where(col(SessionRow.user_id) == user_id, col(SessionRow.revoked).is_(False))
            .values(revoked=True, version=col(SessionRow.version) + 1)
        )

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all sessions of the user. The database removes their tokens with them."""
        await self.session.exec(delete(SessionRow).where(col(SessionRow.user_id) == user_id))


class SqlModelAttempts:
    """Stores recent log-in attempts within a unit of work (port LoginAttemptRepository)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        """Return the attempts of each subject, in the order of the arguments, locked until the unit of work ends.

        A subject of which nothing is stored gets empty attempts. One statement inserts these, or locks the existing
        row. The update on conflict changes nothing; it makes the engine lock and return that row.
        """
        new = [row_from_attempts(LoginAttempts(subject=subject)).model_dump() for subject in sorted(set(subjects))]
        locking = (
            insert_into(self.session, AttemptsRow)
            .values(new)
            .on_conflict_do_update(index_elements=[AttemptsRow.subject], set_={"version": AttemptsRow.version})
            .returning(AttemptsRow)
        )
        result = await self.session.exec(locking, execution_options={"populate_existing": True})
        rows = result.scalars().all()
        keep(self.session, *rows)
        found = {row.subject: row for row in rows}
        return [attempts_from(found[subject]) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        """Store changed attempts; raise TryAgain if the stored version of one is not lower than its new version."""
        for counter in attempts:
            row = row_from_attempts(counter)
            await change(self.session, row, counter.subject, expected=range(counter.version))
