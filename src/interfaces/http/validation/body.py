"""Request bodies: their size, their media type, and strict JSON."""

import json
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, NoReturn

from fastapi import HTTPException, Request

MAX_BODY_BYTES = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class LimitedRequest(Request):
    """A request whose body is limited to MAX_BODY_BYTES, and whose JSON is parsed by parse_json()."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks; raise HTTPException 413 once it is larger than MAX_BODY_BYTES."""
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise HTTPException(413)
            yield chunk

    async def json(self) -> Any:
        """Return the body, parsed by parse_json(); an empty tuple for `null`, which FastAPI would take for no body.

        Raise JSONDecodeError if that fails, and HTTPException 413 if the body is too large.
        """
        content = parse_json(await self.body())
        return () if content is None else content


def wrong_media_type(media_type: str) -> str:
    """Return what is wrong with a request whose Content-Type is not this media type."""
    return f"Send the header Content-Type: {media_type}."


class UnsupportedMediaType(HTTPException):
    """A body of another media type or content coding than the operation takes: 415. `detail` is sent to the client."""

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(415, detail, headers)


def check_content_headers(request: Request, media_type: str | None) -> None:
    """Check the length and the media type that the headers announce for a body; return if the request may go on.

    `media_type` is what the route accepts. If it takes no body, that is None, and the media type is not checked.

    Raise HTTPException 413 if Content-Length is larger than MAX_BODY_BYTES. Raise UnsupportedMediaType if the body is
    compressed, if Content-Type is another media type, or if it is missing although the other headers announce a body
    that is not empty. Content-Length may be missing or wrong, so this does not limit what is read: LimitedRequest does.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES):
        raise HTTPException(413)
    if media_type is None:
        return
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        detail = "The body must not be compressed: send it as it is, without Content-Encoding."
        raise UnsupportedMediaType(detail, {"Accept-Encoding": "identity"})
    content_type = request.headers.get("content-type")
    empty = length == "0" and "transfer-encoding" not in request.headers
    if not (empty if content_type is None else content_type.partition(";")[0].strip().lower() == media_type):
        raise UnsupportedMediaType(wrong_media_type(media_type))


def parse_json(body: bytes) -> Any:
    """Parse JSON strictly: no duplicate fields, no NaN or Infinity; numbers with a fraction become Decimal.

    Raise JSONDecodeError for anything else, and for text that is not UTF-8 or begins with a byte order mark, nesting
    that is too deep and numbers that are too large, because it is the only error that FastAPI answers with 422. Its
    message says where the parser has stopped, if that is known, and does not quote the body.
    """
    if body.startswith(BOM_UTF8):
        raise json.JSONDecodeError("begins with a byte order mark", "", 0)
    try:
        return _decoder.decode(body.decode())
    except json.JSONDecodeError as error:
        known_place = f" at line {error.lineno}, column {error.colno}" if error.doc else ""
        raise json.JSONDecodeError(error.msg.removesuffix(" at") + known_place, "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except UnicodeDecodeError:
        raise json.JSONDecodeError("not UTF-8", "", 0) from None
    except (ValueError, ArithmeticError):  # thousands of digits, or an exponent that long
        raise json.JSONDecodeError("a number is too large", "", 0) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object as a dict; raise JSONDecodeError if a name occurs twice."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise json.JSONDecodeError("a field is there twice", "", 0)
    return unique


def _refuse_constant(_: str) -> NoReturn:
    """Raise JSONDecodeError for NaN and Infinity."""
    raise json.JSONDecodeError("NaN and Infinity are not JSON", "", 0)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
