"""What Schemathesis cannot know from the document: hooks, which its own process imports."""

import json
import os
from typing import Any
from uuid import UUID

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import ObjectLevelAuthorizationViolation, RejectedPositiveData

RULES = {
    "version-mismatch",  # an If-Match that is well formed fits or does not
    "recipient-not-found",  # an id that is well formed may be nobody's
    "recipient-is-owner",
    "common-password",  # a list of many thousands
    "idempotency-key-reused",  # made-up keys repeat, with other requests
}
"""Refusals of requests that are valid by the document: what they depend on is stored, and not in any schema."""

RELATIONS = {
    "/cursor",  # opaque: only the service makes valid ones
    "/skip",  # not beside a cursor
    "/max_price",  # not below min_price
}
"""Query parameters whose fault may lie in what no schema of a parameter can say."""

PRIVATE = {"/tasks/{task_id}", "/tasks", "/users/me"}
"""All else is for every user to read, on purpose."""

RECIPIENT, PASSWORD = "FUZZING_RECIPIENT", "FUZZING_PASSWORD"
"""Variables that tell what no made-up request could know."""


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Let every other of some bodies have what it takes to succeed."""
    assert context.operation is not None
    match context.operation.definition.raw["operationId"], body:
        case "transfer_item", {"to_user_id": str(made_up)} if _is_even(made_up):
            return {**body, "to_user_id": os.environ[RECIPIENT]}
        case "change_account", {"current_password": str(made_up)} if len(made_up) % 2:
            known = os.environ[PASSWORD]
            return {**body, "current_password": known, **({"password": known} if "password" in body else {})}
    return body


def _is_even(id_: str) -> bool:
    try:
        return UUID(id_).int % 2 == 0
    except ValueError:
        return False


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    match failure:
        case RejectedPositiveData():
            problem = json.loads(response.content)
            slug = problem["type"].rpartition("/")[2]
            pointers = {error["pointer"] for error in problem.get("errors", [])}
            return not (slug in RULES or (case.method == "GET" and pointers and pointers <= RELATIONS))
        case AcceptedNegativeData() if case.operation.path == "/auth/token":
            # OAuth's rule that an empty field is a missing one is in no schema of a value from a list.
            return not (isinstance(case.body, dict) and case.body.get("grant_type") == "")
        case ObjectLevelAuthorizationViolation():
            return case.operation.path in PRIVATE
    return True
