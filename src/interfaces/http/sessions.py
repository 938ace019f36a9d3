"""Signing in over HTTP."""

from typing import Annotated, Literal

import structlog
from fastapi import Depends, Form, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from application.sessions import SignIn
from domain.text import checked_text
from domain.user import EMAIL_LENGTH, PASSWORD_LENGTHS
from interfaces.http.answers import answer
from interfaces.http.auth import OPEN
from interfaces.http.dependencies import use
from interfaces.http.openapi import TEXT, problems
from interfaces.http.routing import new_router
from interfaces.http.validation import In, rule

log = structlog.get_logger()


class SignInIn(In):
    """The password form of OAuth2; what it has besides name and password is accepted and has no effect."""

    username: Annotated[
        str,
        Field(
            description="Username or e-mail address.", max_length=EMAIL_LENGTH, examples=["ada"], json_schema_extra=TEXT
        ),
        AfterValidator(rule(checked_text, "username", at_most=EMAIL_LENGTH)),
    ]
    password: Annotated[
        str,
        Field(max_length=PASSWORD_LENGTHS[1], examples=["correct horse battery staple"], json_schema_extra=TEXT),
        AfterValidator(rule(checked_text, "password", at_most=PASSWORD_LENGTHS[1])),
    ]
    grant_type: Literal["password"] | None = None
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class TokenOut(BaseModel):
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="Seconds.", examples=[900])


router = new_router("signing in")


@router.post(
    "/auth/token",
    response_model=TokenOut,
    responses=problems("wrong-credentials"),
    openapi_extra=OPEN,
    summary="Sign in",
)
async def sign_in(
    request: Request, body: Annotated[SignInIn, Form()], sign_in: Annotated[SignIn, Depends(use(SignIn))]
) -> Response:
    access = await sign_in(login=body.username, password=body.password)
    log.info("signed in", client=request.client and request.client.host)
    return answer({"access_token": access.token, "token_type": "bearer", "expires_in": access.expires_in}).response()
