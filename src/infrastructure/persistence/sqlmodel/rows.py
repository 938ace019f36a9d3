"""Conversions between rows, as the table models have them, and entities of the domain.

Each conversion makes a new object, so that changing an entity never changes a row of an open session.
"""

from application.ports import KeyId
from application.readers import OwnedItem
from application.streaming import NEVER, NOBODY, SessionToken, StoredKey
from domain.item import Item, ItemId, Transfer, TransferId
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, UserId
from infrastructure.persistence.sqlmodel.models import (
    AttemptsRow,
    ItemRow,
    KeyRow,
    SessionRow,
    TaskRow,
    TokenRow,
    TransferRow,
    UserRow,
)


def user_from(row: UserRow) -> User:
    return User(
        id=UserId(row.id),
        email=row.email,
        username=row.username,
        password_hash=row.password_hash,
        is_active=row.is_active,
        created_at=row.created_at,
        version=row.version,
    )


def row_from_user(user: User) -> UserRow:
    return UserRow(
        id=user.id,
        email=user.email,
        username=user.username,
        password_hash=user.password_hash,
        is_active=user.is_active,
        created_at=user.created_at,
        version=user.version,
    )


def item_from(row: ItemRow) -> Item:
    return Item(
        id=ItemId(row.id),
        name=row.name,
        description=row.description,
        price=row.price,
        owner_id=UserId(row.owner_id),
        created_at=row.created_at,
        version=row.version,
        transfers=row.transfers,
    )


def owned_item_from(row: ItemRow) -> OwnedItem:
    """Return the item of a row whose owner has been loaded with it."""
    return OwnedItem(item_from(row), row.owner.username)


def row_from_item(item: Item) -> ItemRow:
    return ItemRow(
        id=item.id,
        name=item.name,
        description=item.description,
        price=item.price,
        owner_id=item.owner_id,
        created_at=item.created_at,
        version=item.version,
        transfers=item.transfers,
    )


def transfer_from(row: TransferRow) -> Transfer:
    return Transfer(
        id=TransferId(row.id),
        item_id=ItemId(row.item_id),
        number=row.number,
        from_user_id=UserId(row.from_user_id),
        to_user_id=UserId(row.to_user_id),
        version=row.version,
        transferred_at=row.transferred_at,
    )


def row_from_transfer(transfer: Transfer) -> TransferRow:
    return TransferRow(
        id=transfer.id,
        item_id=transfer.item_id,
        number=transfer.number,
        from_user_id=transfer.from_user_id,
        to_user_id=transfer.to_user_id,
        version=transfer.version,
        transferred_at=transfer.transferred_at,
    )


def task_from(row: TaskRow) -> Task:
    return Task(
        id=TaskId(row.id),
        owner_id=UserId(row.owner_id),
        title=row.title,
        description=row.description,
        status=TaskStatus(row.status),
        created_at=row.created_at,
        version=row.version,
    )


def row_from_task(task: Task) -> TaskRow:
    return TaskRow(
        id=task.id,
        owner_id=task.owner_id,
        title=task.title,
        description=task.description,
        status=task.status.value,
        created_at=task.created_at,
        version=task.version,
    )


def session_from(row: SessionRow) -> Session:
    return Session(
        id=SessionId(row.id),
        user_id=UserId(row.user_id),
        token_hash=row.token_hash,
        expires_at=row.expires_at,
        revoked=row.revoked,
        version=row.version,
    )


def row_from_session(session: Session) -> SessionRow:
    return SessionRow(
        id=session.id,
        user_id=session.user_id,
        token_hash=session.token_hash,
        expires_at=session.expires_at,
        revoked=session.revoked,
        version=session.version,
    )


def token_from(row: TokenRow) -> SessionToken:
    """Return the token of a row whose session has been loaded with it; NOBODY and NEVER stand for a missing session."""
    return SessionToken(
        token_hash=row.token_hash,
        session_id=SessionId(row.session_id),
        user_id=UserId(row.session.user_id) if row.session else NOBODY,
        expires_at=row.session.expires_at if row.session else NEVER,
    )


def row_from_token(token: SessionToken) -> TokenRow:
    return TokenRow(token_hash=token.token_hash, session_id=token.session_id)


def attempts_from(row: AttemptsRow) -> LoginAttempts:
    return LoginAttempts(subject=row.subject, failed=row.failed, pending=row.pending, version=row.version)


def row_from_attempts(attempts: LoginAttempts) -> AttemptsRow:
    return AttemptsRow(
        subject=attempts.subject,
        failed=attempts.failed,
        pending=attempts.pending,
        version=attempts.version,
        expires_at=attempts.expires_at,
    )


def key_from(row: KeyRow) -> StoredKey:
    """Return the key of a row that has an answer, as every committed row has."""
    return StoredKey(
        id=KeyId(UserId(row.caller), row.operation, row.key),
        fingerprint=row.fingerprint,
        expires_at=row.expires_at,
        answer=row.answer or b"",
    )


def row_from_key(key: StoredKey) -> KeyRow:
    return KeyRow(
        caller=key.id.caller,
        operation=key.id.operation,
        key=key.id.key,
        fingerprint=key.fingerprint,
        answer=key.answer,
        expires_at=key.expires_at,
    )
