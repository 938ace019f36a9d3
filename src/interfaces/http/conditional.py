"""Conditional requests (RFC 9110, section 13). The entity tag of an object is its version."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from domain.version import ExpectedVersions
from interfaces.http.responses.answers import Answer

_LIST_MEMBER = re.compile(r'(?:[^,"]|"[^"]*"?)+')
_STRONG_TAG = re.compile(r'"[^"]*"')
_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,17})"')


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def split_list_header(lines: list[str]) -> list[str]:
    """Return the members of a header that is a list; it may be sent in several lines. Commas inside quotes stay."""
    return [member.strip(" \t") for member in _LIST_MEMBER.findall(",".join(lines))]


async def expected_versions(
    request: Request,
    _if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="Versions that the change is meant for; any other version is 412. One or more ETags, in double"
            " quotes as the header `ETag` has them, separated by commas, or `*`; anything else matches no version.",
            examples=['"1"', "*"],
        ),
    ] = None,
) -> ExpectedVersions:
    """Return the versions that If-Match names; None if it is absent or `*`.

    The parameter `_if_match` is there for the document only: the header may be sent in several lines.

    Weak and malformed tags are left out, since they match no version (RFC 9110, section 13.1.1). If nothing remains,
    the set is empty and every version is refused.
    """
    lines = request.headers.getlist("if-match")
    tags = split_list_header(lines)
    if not lines or tags == ["*"]:
        return None
    return {int(tag[1]) for tag in map(_VERSION_TAG.fullmatch, tags) if tag}


async def no_expected_version(
    request: Request,
    _if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="Accounts have no `ETag`: `*` has no effect, and anything else is 412.",
            examples=["*"],
        ),
    ] = None,
) -> ExpectedVersions:
    """Return the versions that If-Match names, as expected_versions() does, for objects that have no entity tag.

    The parameter `_if_match` is there for the document only, and has another description.
    """
    return await expected_versions(request)


def has_malformed_if_match(request: Request) -> bool:
    """Return whether If-Match was sent and is neither `*` nor a list of strong entity tags."""
    lines = request.headers.getlist("if-match")
    tags = split_list_header(lines)
    return bool(lines) and tags != ["*"] and not (tags and all(map(_STRONG_TAG.fullmatch, tags)))


IfMatch = Annotated[ExpectedVersions, Depends(expected_versions)]
IfMatchWithoutTag = Annotated[ExpectedVersions, Depends(no_expected_version)]
"""If-Match for an object that has no entity tag, so that `*` alone can match."""


async def known_tags(
    request: Request,
    _if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="Versions that the client already has: 304 if one of them is the current one.",
            examples=['"3"'],
        ),
    ] = None,
) -> list[str]:
    """Return the lines of the header If-None-Match; an empty list if it is absent.

    The parameter `_if_none_match` is there for the document only.
    """
    return request.headers.getlist("if-none-match")


IfNoneMatch = Annotated[list[str], Depends(known_tags)]


def answer_unless_known(lines: list[str], answer: Answer) -> Response:
    """Return a response 304 if If-None-Match names the answer's entity tag or is `*`; else the answer as a response.

    `lines` are the values of If-None-Match; empty if it was not sent. Tags are compared weakly: `W/"3"` matches `"3"`
    (RFC 9110, section 8.8.3.2). An answer without an entity tag is always returned as a response.
    """
    if lines and answer.etag:
        tags = split_list_header(lines)
        if tags == ["*"] or answer.etag in (tag.removeprefix("W/") for tag in tags):
            return Response(status_code=304, headers={"ETag": answer.etag})
    return answer.response()
