"""Routes for users: sign up, read and change one's own account, and look up other users."""

from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import Depends, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from application.paging import Sort
from application.readers import UserReader
from application.use_cases.users import ChangeAccount, CreateUser, DeleteAccount, ReadAccount
from domain.text import checked_text
from domain.user import (
    EMAIL_PATTERN,
    MAX_EMAIL_LENGTH,
    MAX_PASSWORD_LENGTH,
    MIN_PASSWORD_LENGTH,
    USERNAME_PATTERN,
    User,
    UserId,
    checked_email,
    checked_username,
)
from interfaces.http.conditional import IfMatchWithoutTag
from interfaces.http.openapi.annotations import (
    NEXT_PAGE,
    PageOut,
    Timestamp,
    id_schema,
    problem_responses,
    response_headers,
)
from interfaces.http.openapi.examples import ADA_ID, PASSWORD
from interfaces.http.paging.listing import ListFormat, Paging
from interfaces.http.responses.answers import format_timestamp, json_answer
from interfaces.http.routing.auth import PUBLIC, Caller, ClientAddress
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.models import ABSENT, InputModel, domain_rule
from interfaces.http.validation.patterns import TEXT

log = structlog.get_logger()

Email = Annotated[
    str,
    Field(
        max_length=MAX_EMAIL_LENGTH,
        examples=["ada@example.org"],
        json_schema_extra={"pattern": EMAIL_PATTERN},
    ),
    AfterValidator(domain_rule(checked_email)),
]
Username = Annotated[
    str,
    Field(examples=["ada"], json_schema_extra={"pattern": USERNAME_PATTERN}),
    AfterValidator(domain_rule(checked_username)),
]
Password = Annotated[
    str,
    Field(
        min_length=MIN_PASSWORD_LENGTH,
        max_length=MAX_PASSWORD_LENGTH,
        examples=[PASSWORD],
        json_schema_extra=TEXT,
    ),
    AfterValidator(domain_rule(checked_text, "password", max_length=MAX_PASSWORD_LENGTH)),
]


class UserIn(InputModel):
    """The fields of an account to be created."""

    email: Email
    username: Username
    password: Password


class AccountChangesIn(InputModel):
    """Changes of an account. Fields that are absent stay as they are; the current password is required."""

    email: Email = ABSENT
    password: Password = ABSENT
    current_password: Annotated[
        str,
        Field(max_length=MAX_PASSWORD_LENGTH, examples=[PASSWORD], json_schema_extra=TEXT),
        AfterValidator(domain_rule(checked_text, "current_password", max_length=MAX_PASSWORD_LENGTH)),
    ]


class ProfileOut(BaseModel):
    """A user as everybody may see them."""

    id: Annotated[str, id_schema(ADA_ID)]
    username: str
    is_active: bool
    created_at: Timestamp


class AccountOut(ProfileOut):
    """A user's own account: what everybody may see, and the e-mail address."""

    email: str


def profile_out(user: User) -> dict[str, Any]:
    """Return the user as ProfileOut describes it."""
    return {
        "id": str(user.id),
        "username": user.username,
        "is_active": user.is_active,
        "created_at": format_timestamp(user.created_at),
    }


def account_out(user: User) -> dict[str, Any]:
    """Return the user as AccountOut describes it."""
    return {**profile_out(user), "email": user.email}


PROFILES = ListFormat({"id": UUID}, profile_out)
Users = Annotated[UserReader, Depends(use(UserReader))]

router = new_router("users")


@router.post(
    "/users",
    status_code=201,
    response_model=AccountOut,
    responses={
        **response_headers(201, Location="The account."),
        **problem_responses("common-password", "email-taken", "username-taken", "too-many-attempts"),
    },
    openapi_extra=PUBLIC,
    summary="Sign up",
)
async def create_user(
    body: UserIn, address: ClientAddress, create: Annotated[CreateUser, Depends(use(CreateUser))]
) -> Response:
    """Create an account, and return it. No sign-in is needed; to sign in afterwards, use `POST /auth/token`.

    E-mail address and username are unique regardless of case (409 if taken), and the username cannot be changed later.
    The server may limit how many accounts can be created from one address within 15 minutes (429).
    """
    user = await create(email=body.email, username=body.username, password=body.password, address=address)
    log.info("account created", user_id=str(user.id), client=address)
    return json_answer(account_out(user), 201, location=f"/users/{user.id}").response()


@router.get(
    "/users/me", response_model=AccountOut, responses=problem_responses("account-inactive"), summary="Your account"
)
async def read_account(caller: Caller, read: Annotated[ReadAccount, Depends(use(ReadAccount))]) -> Response:
    """Return the caller's own account, with its e-mail address; 401 if it has been deactivated or deleted.

    To change or delete the account, use `/users/{user_id}`: this path answers GET only.
    """
    return json_answer(account_out(await read(caller))).response()


@router.get(
    "/users",
    response_model=PageOut[ProfileOut],
    responses=response_headers(200, Link=NEXT_PAGE),
    summary="All users, with what everybody may know of them",
)
async def list_users(request: Request, paging: Paging, users: Users) -> Response:
    """Return a page of all users in the order of their creation, without their e-mail addresses."""
    listing = paging.listing(request, PROFILES, Sort("id"))
    return listing.response(await users.page(listing.window))


@router.get(
    "/users/{user_id}",
    response_model=AccountOut | ProfileOut,
    responses=problem_responses("user-not-found"),
    summary="One user; your own account with its e-mail address",
)
async def read_user(user_id: UUID, caller: Caller, users: Users) -> Response:
    """Return the profile of a user, or one's own account, with its e-mail address."""
    user = await users.get(UserId(user_id))
    return json_answer(account_out(user) if user.id == caller else profile_out(user)).response()


@router.patch(
    "/users/{user_id}",
    response_model=AccountOut,
    responses=problem_responses(
        "account-inactive",
        "user-not-found",
        "not-your-account",
        "wrong-password",
        "common-password",
        "too-many-attempts",
        "email-taken",
    ),
    summary="Change your e-mail address or password",
)
async def change_account(
    *,
    user_id: UUID,
    body: AccountChangesIn,
    caller: Caller,
    address: ClientAddress,
    expected: IfMatchWithoutTag,
    change: Annotated[ChangeAccount, Depends(use(ChangeAccount))],
) -> Response:
    """Change the e-mail address, the password or both of the caller's own account, and return the account.

    The current password is required; a wrong one is 403. Wrong passwords are counted, and after too many the answer is
    429 for a while. `If-Match` is checked before the password. A new password ends all sessions: no refresh token works
    any more. Access tokens that were issued before work until they expire.
    """
    user = await change(UserId(user_id), by=caller, address=address, expected=expected, **body.model_dump())
    fields = sorted(body.model_fields_set - {"current_password"})
    log.info("account changed", user_id=str(user.id), fields=fields, client=address)
    return json_answer(account_out(user)).response()


@router.delete(
    "/users/{user_id}",
    status_code=204,
    responses=problem_responses("account-inactive", "user-not-found", "not-your-account", "user-owns-items"),
    summary="Delete your account",
)
async def delete_account(
    *,
    user_id: UUID,
    caller: Caller,
    address: ClientAddress,
    expected: IfMatchWithoutTag,
    delete: Annotated[DeleteAccount, Depends(use(DeleteAccount))],
) -> Response:
    """Delete the caller's own account with its tasks and sessions; 409 while it owns items.

    The transfers in which the user took part remain. Access tokens can still read until they expire, but change
    nothing. Name and e-mail address can be used again.
    """
    await delete(UserId(user_id), by=caller, expected=expected)
    log.info("account deleted", user_id=str(user_id), client=address)
    return Response(status_code=204)
