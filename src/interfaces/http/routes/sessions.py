"""Signing in, staying signed in and signing out over HTTP."""

from typing import Annotated, Literal

import structlog
from fastapi import Depends, Form, Response
from pydantic import AfterValidator, BaseModel, Field

from application.sessions import RefreshSession, SignedIn, SignIn, SignOut
from domain.text import checked_text
from domain.user import MAX_EMAIL_LENGTH, MAX_PASSWORD_LENGTH
from interfaces.http.openapi.annotations import TEXT, problems
from interfaces.http.responses.answers import Answer, answer
from interfaces.http.routing.auth import OPEN, Address
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.models import In, rule

log = structlog.get_logger()

REFRESH_TOKEN_LENGTH = 200


class SignInIn(In):
    """The password form of OAuth2; what it has besides name and password is accepted and has no effect."""

    username: Annotated[
        str,
        Field(
            description="Username or e-mail address.",
            max_length=MAX_EMAIL_LENGTH,
            examples=["ada"],
            json_schema_extra=TEXT,
        ),
        AfterValidator(rule(checked_text, "username", max_length=MAX_EMAIL_LENGTH)),
    ]
    password: Annotated[
        str,
        Field(max_length=MAX_PASSWORD_LENGTH, examples=["correct horse battery staple"], json_schema_extra=TEXT),
        AfterValidator(rule(checked_text, "password", max_length=MAX_PASSWORD_LENGTH)),
    ]
    grant_type: Literal["password"] | None = None
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class RefreshIn(In):
    refresh_token: Annotated[
        str,
        Field(min_length=1, max_length=REFRESH_TOKEN_LENGTH, json_schema_extra=TEXT),
        AfterValidator(rule(checked_text, "refresh_token", max_length=REFRESH_TOKEN_LENGTH)),
    ]


class TokensOut(BaseModel):
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="Seconds.", examples=[900])
    refresh_token: str = Field(description="For POST /auth/refresh; works once.")


def tokens_answer(signed_in: SignedIn) -> Answer:
    return answer(
        {
            "access_token": signed_in.access.token,
            "token_type": "bearer",
            "expires_in": signed_in.access.expires_in,
            "refresh_token": signed_in.refresh_token,
        }
    )


router = new_router("signing in")


@router.post(
    "/auth/token",
    response_model=TokensOut,
    responses=problems("wrong-credentials", "too-many-attempts"),
    openapi_extra=OPEN,
    summary="Sign in",
)
async def sign_in(
    address: Address, body: Annotated[SignInIn, Form()], sign_in: Annotated[SignIn, Depends(use(SignIn))]
) -> Response:
    signed_in = await sign_in(login=body.username, password=body.password, address=address)
    log.info("signed in", user_id=str(signed_in.user_id), client=address)
    return tokens_answer(signed_in).response()


@router.post(
    "/auth/refresh",
    response_model=TokensOut,
    responses=problems("invalid-refresh-token"),
    openapi_extra=OPEN,
    summary="Exchange a refresh token for new tokens",
)
async def refresh_session(
    address: Address, body: RefreshIn, refresh: Annotated[RefreshSession, Depends(use(RefreshSession))]
) -> Response:
    signed_in = await refresh(refresh_token=body.refresh_token)
    log.info("refreshed", user_id=str(signed_in.user_id), client=address)
    return tokens_answer(signed_in).response()


@router.post("/auth/logout", status_code=204, openapi_extra=OPEN, summary="Sign out")
async def sign_out(address: Address, body: RefreshIn, sign_out: Annotated[SignOut, Depends(use(SignOut))]) -> Response:
    user_id = await sign_out(refresh_token=body.refresh_token)
    if user_id:
        log.info("signed out", user_id=str(user_id), client=address)
    return Response(status_code=204)
