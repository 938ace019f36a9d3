"""The kinds of refusal. The class says what sort it is, the code which one; a code never changes its meaning."""


class DomainError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class NotFound(DomainError):
    """What was asked for does not exist, or not for the one who asks."""


class Unauthenticated(DomainError):
    """Nobody, or nobody active, stands behind the request."""


class Forbidden(DomainError):
    """Known, but not allowed to."""


class Conflict(DomainError):
    """Right in itself, but not as things stand."""


class Stale(DomainError):
    """The caller has seen an older version than the one that is stored."""


class Invalid(DomainError):
    """Wrong in itself; `field` names the input that is to blame, where there is one."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(code, detail)
        self.field = field
