"""Request bodies: how large, of which kind, and JSON without the laxness of the standard parser."""

import json
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, NoReturn

from fastapi import HTTPException, Request

LARGEST = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class LimitedRequest(Request):
    """A request of which no more than the limit is read, and whose JSON is read exactly."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > LARGEST:
                raise HTTPException(413)
            yield chunk

    async def json(self) -> Any:
        return parse_json(await self.body())


def check_announced(request: Request, media_type: str | None) -> None:
    """Judge a body by what its headers say of it; `media_type` is the one that the route takes, if it takes any."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > len(str(LARGEST)) or int(length) > LARGEST):
        raise HTTPException(413)
    if media_type is None:
        return
    announced = request.headers.get("content-type")
    empty = length == "0" and "transfer-encoding" not in request.headers
    if not (empty if announced is None else announced.partition(";")[0].strip().lower() == media_type):
        raise HTTPException(415)


def parse_json(body: bytes) -> Any:
    """Raise JSONDecodeError, the only error that FastAPI takes for the sender's, saying what is wrong but not where."""
    try:
        return _decoder.decode(body.decode())
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except UnicodeDecodeError:
        raise json.JSONDecodeError("not UTF-8", "", 0) from None
    except (ValueError, ArithmeticError):  # thousands of digits, or an exponent that long
        raise json.JSONDecodeError("a number is too large", "", 0) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise json.JSONDecodeError("a field is there twice", "", 0)
    return unique


def _refuse_constant(_: str) -> NoReturn:
    raise json.JSONDecodeError("NaN and Infinity are not JSON", "", 0)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
