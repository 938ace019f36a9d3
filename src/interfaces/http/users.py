"""Users over HTTP: signing up, and one's own account."""

from typing import Annotated, Any

from fastapi import Depends, Response
from pydantic import AfterValidator, BaseModel, Field

from application.users import CreateUser, ReadAccount
from domain.user import EMAIL_LENGTH, PASSWORD_LENGTHS, User, checked_email, checked_password, checked_username
from interfaces.http.answers import answer, timestamp
from interfaces.http.auth import OPEN, Caller
from interfaces.http.dependencies import use
from interfaces.http.openapi import TEXT, Id, Timestamp, problems
from interfaces.http.routing import new_router
from interfaces.http.validation import In, rule

Email = Annotated[
    str,
    Field(max_length=EMAIL_LENGTH, examples=["ada@example.org"], json_schema_extra={"format": "email"}),
    AfterValidator(rule(checked_email)),
]
Username = Annotated[
    str,
    Field(examples=["ada"], json_schema_extra={"pattern": "^[A-Za-z0-9_.-]{3,50}$"}),
    AfterValidator(rule(checked_username)),
]
Password = Annotated[
    str,
    Field(
        min_length=PASSWORD_LENGTHS[0],
        max_length=PASSWORD_LENGTHS[1],
        examples=["correct horse battery staple"],
        json_schema_extra=TEXT,
    ),
    AfterValidator(rule(checked_password)),
]


class UserIn(In):
    email: Email
    username: Username
    password: Password


class AccountOut(BaseModel):
    id: Id
    email: str
    username: str
    is_active: bool
    created_at: Timestamp


def account_out(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "is_active": user.is_active,
        "created_at": timestamp(user.created_at),
    }


router = new_router("users")


@router.post(
    "/users",
    status_code=201,
    response_model=AccountOut,
    responses=problems("email-taken", "username-taken"),
    openapi_extra=OPEN,
    summary="Sign up",
)
async def create_user(body: UserIn, create: Annotated[CreateUser, Depends(use(CreateUser))]) -> Response:
    user = await create(email=body.email, username=body.username, password=body.password)
    return answer(account_out(user), 201, location=f"/users/{user.id}").response()


@router.get("/users/me", response_model=AccountOut, summary="One's own account")
async def read_account(caller: Caller, read: Annotated[ReadAccount, Depends(use(ReadAccount))]) -> Response:
    return answer(account_out(await read(caller))).response()
