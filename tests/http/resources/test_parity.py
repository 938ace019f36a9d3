"""The story that is told on every engine leaves out no operation and no problem of the document."""

from interfaces.certification.parity.document import declared_problems, operations
from interfaces.certification.parity.story import exchanges_in_memory


async def test_every_operation_succeeds_in_it() -> None:
    succeeded = {exchange.operation for exchange in await exchanges_in_memory() if exchange.status < 300}
    assert succeeded - {None} == operations().keys()


async def test_every_problem_that_is_declared_is_given_and_no_other() -> None:
    given = {
        (exchange.operation, exchange.problem)
        for exchange in await exchanges_in_memory()
        if exchange.operation and exchange.problem
    }
    before_routing = {(name, "bad-request") for name in ("start", "live", "ready")}  # the story has a request of each
    assert given | before_routing == declared_problems()
