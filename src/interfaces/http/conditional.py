"""Conditional requests (RFC 9110, section 13): the version is the entity tag."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import WithJsonSchema

from domain.version import ExpectedVersions
from interfaces.http.responses.answers import Answer

_PARTS = re.compile(r'(?:[^,"]|"[^"]*"?)+')
_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,17})"')


def etag(version: int) -> str:
    return f'"{version}"'


def parts(lines: list[str]) -> list[str]:
    """The members of a list header, however many lines it takes."""
    return [part.strip(" \t") for part in _PARTS.findall(",".join(lines))]


async def expected(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match", description="Change it only in one of these versions; else 412.", examples=['"1"', "*"]
        ),
    ] = None,
) -> ExpectedVersions:
    """A weak or malformed tag matches no version, so a list of nothing else is an empty one, which none fits."""
    lines = request.headers.getlist("if-match")
    tags = parts(lines)
    if not lines or tags == ["*"]:
        return None
    return {int(tag[1]) for tag in map(_VERSION_TAG.fullmatch, tags) if tag}


IfMatch = Annotated[ExpectedVersions, Depends(expected)]
IfNoneMatch = Annotated[
    list[str] | None,  # of as many lines as it is sent in, although it is one list, and documented as one string
    WithJsonSchema({"type": "string", "examples": ['"3"']}),
    Header(alias="If-None-Match", description="Versions known already: 304 if it is one of them."),
]


def unless_known(lines: list[str] | None, answer: Answer) -> Response:
    """The answer, or 304 where the caller has it already. Compared weakly: the mark of weakness does not count."""
    if lines and answer.etag:
        tags = parts(lines)
        if tags == ["*"] or answer.etag in (tag.removeprefix("W/") for tag in tags):
            return Response(status_code=304, headers={"ETag": answer.etag})
    return answer.response()
