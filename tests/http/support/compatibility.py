"""Which changes of the OpenAPI document would break a client that was written for an older one.

Gone: an operation, a parameter, a status, a media type, a field of an answer, a value. Newly required: a parameter, a
field of a request. Narrower: a type, a range or a pattern of what is sent. An answer that has a new value in an
enumeration is listed too, since generated clients often know nothing but the values of their day.

Run as `python -m tests.http.support.compatibility OLD.json NEW.json`, it prints what would break, and exits with 1 if
anything would.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
BOUNDS = {
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "multipleOf",
    "const",
    "additionalProperties",
}


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return a line for each change that would break a client, in the order of the old document."""
    return list(dict.fromkeys(_Comparison(old, new).operations()))


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self.old = old
        self.new = new

    def operations(self) -> Iterator[str]:
        for path, methods in self.old["paths"].items():
            for method, before in methods.items():
                place = f"{method.upper()} {path}"
                after = self.new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{place}: the operation is gone"
                    continue
                if before["operationId"] != after["operationId"]:
                    yield f"{place}: it is called {after['operationId']} and no longer {before['operationId']}"
                if before.get("security") == [] and after.get("security") != []:
                    yield f"{place}: it needs sign-in now"
                yield from self.parameters(place, before, after)
                yield from self.body(place, before.get("requestBody"), after.get("requestBody"))
                yield from self.responses(place, before["responses"], after["responses"])

    def parameters(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        known, now = (
            {(parameter["in"], parameter["name"]): parameter for parameter in operation.get("parameters", [])}
            for operation in (before, after)
        )
        for key, parameter in known.items():
            if key not in now:
                yield f"{place}: the parameter {key[1]} is gone"
            else:
                yield from self.request(f"{place}, {key[1]}", parameter["schema"], now[key]["schema"])
        for key, parameter in now.items():
            if parameter.get("required") and not known.get(key, {}).get("required"):
                yield f"{place}: the parameter {key[1]} is newly required"

    def body(self, place: str, before: Schema | None, after: Schema | None) -> Iterator[str]:
        if after and after.get("required") and not (before or {}).get("required"):
            yield f"{place}: a body is newly required"
        for media_type, content in (before or {}).get("content", {}).items():
            if media_type not in (after or {}).get("content", {}):
                yield f"{place}: it takes {media_type} no longer"
            elif after:
                yield from self.request(place, content["schema"], after["content"][media_type]["schema"])

    def responses(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        for status, response in before.items():
            if status not in after:
                if status < "400":
                    yield f"{place}: the answer {status} is gone"
                continue
            for header in response.get("headers", {}):
                if header not in after[status].get("headers", {}):
                    yield f"{place}: the answer {status} has the header {header} no longer"
            for media_type, content in response.get("content", {}).items():
                there = after[status].get("content", {}).get(media_type)
                if there is None:
                    yield f"{place}: the answer {status} is {media_type} no longer"
                elif "schema" in content:
                    yield from self.answer(f"{place}, {status}", content["schema"], there.get("schema", {}))

    def request(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        """What a client sends: it must still be accepted."""
        before, after = self.resolved(self.old, before), self.resolved(self.new, after)
        yield from self.types(place, before, after)
        for bound in sorted(BOUNDS & after.keys()):
            if after[bound] != before.get(bound) and not _is_looser(bound, before.get(bound), after[bound]):
                yield f"{place}: {bound} is {after[bound]!r} and no longer {before.get(bound)!r}"
        if "enum" in after:
            for value in before.get("enum", ["any value"]):
                if value not in after["enum"]:
                    yield f"{place}: the value {value!r} is accepted no longer"
        for name, field in before.get("properties", {}).items():
            if name not in after.get("properties", {}):
                yield f"{place}: the field {name} is accepted no longer"
            else:
                yield from self.request(f"{place}, {name}", field, after["properties"][name])
        for name in after.get("required", []):
            if name not in before.get("required", []):
                yield f"{place}: the field {name} is newly required"
        if "items" in before and "items" in after:
            yield from self.request(f"{place}[]", before["items"], after["items"])

    def answer(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        """What a client reads: all that it could rely on must still be there."""
        before, after = self.resolved(self.old, before), self.resolved(self.new, after)
        yield from self.types(place, after, before, verb="may be")
        for value in after.get("enum", []):
            if "enum" in before and value not in before["enum"]:
                yield f"{place}: it may have the value {value!r} now"
        for name, field in before.get("properties", {}).items():
            if name not in after.get("properties", {}):
                yield f"{place}: the field {name} is gone"
            else:
                yield from self.answer(f"{place}, {name}", field, after["properties"][name])
        for name in before.get("required", []):
            if name in after.get("properties", {}) and name not in after.get("required", []):
                yield f"{place}: the field {name} may be missing now"
        if "items" in before and "items" in after:
            yield from self.answer(f"{place}[]", before["items"], after["items"])

    def types(self, place: str, narrow: Schema, wide: Schema, verb: str = "is refused as") -> Iterator[str]:
        """Every type on the one side must be among those of the other."""
        allowed = _types(wide)
        for kind in sorted(_types(narrow) - allowed) if allowed else []:
            yield f"{place}: it {verb} {kind} now"

    def resolved(self, document: Schema, schema: Schema) -> Schema:
        """Follow a reference, and merge what may be null, or one of several kinds, into one schema."""
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" not in schema:
            return schema
        kinds = [self.resolved(document, kind) for kind in schema["anyOf"]]
        merged: Schema = {**schema, "types": set().union(*map(_types, kinds))}
        merged.pop("anyOf")
        for kind in kinds:
            if kind.get("type") != "null":
                required: list[str] = kind.get("required", [])
                shared = set(merged.get("required", required)) & set(required)
                properties = {**merged.get("properties", {}), **kind.get("properties", {})}
                merged = {**kind, **merged, "required": sorted(shared), "properties": properties}
        return merged


def _types(schema: Schema) -> set[str]:
    found: set[str] = schema.get("types") or ({schema["type"]} if "type" in schema else set())
    return found | {"number"} if "integer" in found and "number" in found else found


def _is_looser(bound: str, before: Any, after: Any) -> bool:
    match bound:
        case "minimum" | "minLength":
            return before is not None and after < before
        case "maximum" | "maxLength":
            return before is not None and after > before
        case "additionalProperties":
            return after is not False
    return False


def main() -> int:
    old, new = (json.loads(Path(name).read_text()) for name in sys.argv[1:])
    breaking = breaking_changes(old, new)
    for change in breaking:
        print(f"breaking: {change}")
    return 1 if breaking else 0


if __name__ == "__main__":
    sys.exit(main())
