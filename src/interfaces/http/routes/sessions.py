"""Routes for signing in, refreshing tokens and signing out."""

from typing import Annotated, Literal

import structlog
from fastapi import Depends, Form, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from application.use_cases.sessions import RefreshSession, SignedIn, SignIn, SignOut
from domain.text import checked_text
from domain.user import MAX_EMAIL_LENGTH, MAX_PASSWORD_LENGTH
from interfaces.http.openapi.annotations import problem_responses
from interfaces.http.openapi.examples import PASSWORD
from interfaces.http.responses.answers import Answer, json_answer
from interfaces.http.routing.auth import PUBLIC, ClientAddress
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.models import RULE_ERROR, InputModel, domain_rule
from interfaces.http.validation.patterns import TEXT
from interfaces.http.validation.repetition import refuse_repeated_fields

log = structlog.get_logger()

REFRESH_TOKEN_LENGTH = 200


def _refuse_refreshing(grant_type: object) -> object:
    """Return the grant type, which is validated later; raise PydanticCustomError if it is that of refreshing."""
    if grant_type == "refresh_token":
        raise PydanticCustomError(RULE_ERROR, "must be 'password'; to refresh, use POST /auth/refresh")
    return grant_type


NoEffect = Annotated[str | None, Field(examples=[""])]  # the docs page would send `string`


class SignInIn(InputModel):
    """The password form of OAuth2 (RFC 6749, section 4.3).

    `scope`, `client_id` and `client_secret` have no effect. `grant_type` may be left out; if it is sent, it must be
    `password`. Errors are problems as everywhere here, not those of RFC 6749. To refresh, use `POST /auth/refresh`,
    which takes JSON.
    """

    username: Annotated[
        str,
        Field(
            description="Username or e-mail address.",
            max_length=MAX_EMAIL_LENGTH,
            examples=["ada"],
            json_schema_extra=TEXT,
        ),
        AfterValidator(domain_rule(checked_text, "username", max_length=MAX_EMAIL_LENGTH)),
    ]
    password: Annotated[
        str,
        Field(max_length=MAX_PASSWORD_LENGTH, examples=[PASSWORD], json_schema_extra=TEXT),
        AfterValidator(domain_rule(checked_text, "password", max_length=MAX_PASSWORD_LENGTH)),
    ]
    grant_type: Annotated[Literal["password"] | None, BeforeValidator(_refuse_refreshing)] = None
    scope: NoEffect = None
    client_id: NoEffect = None
    client_secret: NoEffect = None


class RefreshIn(InputModel):
    """The refresh token to exchange for new tokens, or whose session is to end."""

    refresh_token: Annotated[
        str,
        Field(min_length=1, max_length=REFRESH_TOKEN_LENGTH, json_schema_extra=TEXT),
        AfterValidator(domain_rule(checked_text, "refresh_token", max_length=REFRESH_TOKEN_LENGTH)),
    ]


class TokensOut(BaseModel):
    """Tokens of a session."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[900])
    refresh_token: str = Field(
        description="For `POST /auth/refresh`; works once. A session ends 30 days after its sign-in (the operator may"
        " set another number), however often it is refreshed: then sign in again."
    )


def tokens_answer(signed_in: SignedIn) -> Answer:
    """Return the answer 200 with both tokens."""
    return json_answer(
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
    responses=problem_responses("wrong-credentials", "too-many-attempts"),
    dependencies=[Depends(refuse_repeated_fields)],
    openapi_extra=PUBLIC,
    summary="Sign in",
)
async def sign_in(
    address: ClientAddress, body: Annotated[SignInIn, Form()], sign_in: Annotated[SignIn, Depends(use(SignIn))]
) -> Response:
    """Start a session, and return its access token and refresh token.

    Failures are counted for the account and for the client's address; after too many, the answer is 429 for a while.
    """
    signed_in = await sign_in(login=body.username, password=body.password, address=address)
    log.info("signed in", user_id=str(signed_in.user_id), client=address)
    return tokens_answer(signed_in).response()


@router.post(
    "/auth/refresh",
    response_model=TokensOut,
    responses=problem_responses("invalid-refresh-token"),
    openapi_extra=PUBLIC,
    summary="Exchange a refresh token for new tokens",
)
async def refresh_session(
    address: ClientAddress, body: RefreshIn, refresh: Annotated[RefreshSession, Depends(use(RefreshSession))]
) -> Response:
    """Exchange the refresh token for a new access token and a new refresh token. Each refresh token works once.

    If a refresh token is used a second time, the session ends, because a thief may have sent one of the two requests.
    So let one thread at a time refresh. If the answer is lost, or is 503, repeat the request until it is answered with
    something else; 401 means that an earlier one took effect, or that the session has ended: sign in again.
    """
    signed_in = await refresh(refresh_token=body.refresh_token)
    log.info("refreshed", user_id=str(signed_in.user_id), client=address)
    return tokens_answer(signed_in).response()


@router.post("/auth/logout", status_code=204, openapi_extra=PUBLIC, summary="Sign out")
async def sign_out(
    address: ClientAddress, body: RefreshIn, sign_out: Annotated[SignOut, Depends(use(SignOut))]
) -> Response:
    """End the session that the refresh token belongs to; a token of the session that was used before ends it, too.

    The answer is 204 in any case, even if the token is unknown or the session has ended already.

    Access tokens that were issued in the session work until they expire.
    """
    user_id = await sign_out(refresh_token=body.refresh_token)
    if user_id:
        log.info("signed out", user_id=str(user_id), client=address)
    return Response(status_code=204)
