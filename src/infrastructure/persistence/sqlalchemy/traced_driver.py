"""A driver whose statements are spans of OpenTelemetry."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import Tracer

from infrastructure.persistence.sqlalchemy.engines.database import Driver
from infrastructure.tracing import statement_span


class TracedDriver:
    """The given Driver, with a span for each statement. `system` is the database's name in the spans."""

    def __init__(self, driver: Driver, tracer: Tracer, system: str) -> None:
        self.driver = driver
        self.tracer = tracer
        self.system = system
        self.location = driver.location
        self.has_named_rows = driver.has_named_rows
        self.begin_statement = driver.begin_statement
        self.is_closed = driver.is_closed
        self.classify = driver.classify

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, is_short: bool) -> Sequence[Any]:
        """Execute a statement as the driver does, in a span that has the statement but not its arguments."""
        with statement_span(self.tracer, self.system, sql):
            return await self.driver.query(connection, sql, arguments, is_short=is_short)

    async def execute(self, connection: Any, sql: str) -> None:
        """Execute a statement without arguments and rows as the driver does, in a span."""
        with statement_span(self.tracer, self.system, sql):
            await self.driver.execute(connection, sql)
