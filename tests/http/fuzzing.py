"""What Schemathesis cannot know from the document: hooks, which its own process imports."""

import json

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import ObjectLevelAuthorizationViolation, RejectedPositiveData

RULES = {
    "version-mismatch",  # an If-Match that is well formed fits or does not
    "recipient-not-found",  # an id that is well formed may be nobody's
    "recipient-is-owner",
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


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    match failure:
        case RejectedPositiveData():
            problem = json.loads(response.content)
            slug = problem["type"].rpartition("/")[2]
            pointers = {error["pointer"] for error in problem.get("errors", [])}
            return not (slug in RULES or (case.method == "GET" and pointers and pointers <= RELATIONS))
        case ObjectLevelAuthorizationViolation():
            return case.operation.path in PRIVATE
    return True
