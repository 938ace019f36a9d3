"""Conditional requests (RFC 9110, section 13): the version is the entity tag."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from domain.item import Expected
from interfaces.http.answers import Answer

_PARTS = re.compile(r'(?:[^,"]|"[^"]*"?)+')
_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,17})"')


def etag(version: int) -> str:
    return f'"{version}"'


def parts(request: Request, header: str) -> list[str] | None:
    """The members of a list header, however many lines it takes; None where there is none."""
    lines = request.headers.getlist(header)
    return [part.strip(" \t") for part in _PARTS.findall(",".join(lines))] if lines else None


async def expected(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="Change it only in one of these versions; else 412.", examples=['"3"']),
    ] = None,
) -> Expected:
    """A weak or malformed tag matches no version, so a list of nothing else is an empty one, which none fits."""
    tags = parts(request, "if-match")
    if tags is None or tags == ["*"]:
        return None
    return {int(tag[1]) for tag in map(_VERSION_TAG.fullmatch, tags) if tag}


async def known(
    request: Request,
    if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="The version already known: 304 if it still is the one.",
            examples=['"3"'],
        ),
    ] = None,
) -> list[str]:
    return parts(request, "if-none-match") or []


IfMatch = Annotated[Expected, Depends(expected)]
IfNoneMatch = Annotated[list[str], Depends(known)]


def unless_known(tags: list[str], answer: Answer) -> Response:
    """The answer, or 304 where the caller has it already. Compared weakly: the mark of weakness does not count."""
    if tags and answer.etag and (tags == ["*"] or answer.etag in (tag.removeprefix("W/") for tag in tags)):
        return Response(status_code=304, headers={"ETag": answer.etag})
    return answer.response()
