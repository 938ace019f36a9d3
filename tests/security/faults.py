"""Faults that let somebody in, planted as a test begins, and the tests that must notice each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest

from application.transact import Transact
from application.use_cases import passwords, sessions
from application.use_cases.passwords import CheckedAttempt, VerifyPassword
from domain.session import ATTEMPT_WINDOW, LoginAttempts, Session, TooManyAttempts
from infrastructure.persistence.memory import MemoryStore
from infrastructure.persistence.memory.unit_of_work import MemorySessions
from infrastructure.security import tokens
from infrastructure.security.passwords import Argon2Passwords
from interfaces.http.routing import auth
from interfaces.http.routing import route as routing
from interfaces.http.validation import models as validation

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    plant: Plant
    noticed_by: tuple[str, ...]


FAULTS: dict[str, Fault] = {}


def fault(*noticed_by: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        FAULTS[plant.__name__.replace("_", "-")] = Fault(plant, noticed_by)
        return plant

    return register


# Passwords


@fault(
    "test_sessions.py::test_no_refusal_tells_what_was_wrong",
    "test_sessions.py::test_an_unknown_name_takes_as_much_work_as_a_wrong_password",
)
def no_hash_for_unknown_names(patch: pytest.MonkeyPatch) -> None:
    verify = Argon2Passwords.verify

    async def verify_at_once(self: Argon2Passwords, password: str, password_hash: str | None) -> bool:
        return password_hash is not None and await verify(self, password, password_hash)

    patch.setattr(Argon2Passwords, "verify", verify_at_once)


@fault("test_sessions.py::test_too_many_at_once_are_busy_and_have_not_failed")
def no_end_to_the_queue(patch: pytest.MonkeyPatch) -> None:
    init = Argon2Passwords.__init__

    def init_long(self: Argon2Passwords, **rest: Any) -> None:
        init(self, **rest | {"waiting_per_core": 1000})

    patch.setattr(Argon2Passwords, "__init__", init_long)


# The throttle


@fault(
    "test_sessions.py::test_after_ten_failures_nobody_is_judged",
    "test_owasp_api_top_10.py::test_api2_broken_authentication",
)
def each_worker_has_a_throttle_of_its_own(patch: pytest.MonkeyPatch) -> None:
    workers: list[tuple[VerifyPassword, Transact]] = []
    prove = VerifyPassword.__call__

    class OwnAttempt(CheckedAttempt):
        own: Transact

        async def settle(self, uow: Any, *, failed: bool) -> None:
            await self.own(lambda own: CheckedAttempt.settle(self, own, failed=failed))

    async def prove_alone(self: VerifyPassword, *arguments: Any) -> CheckedAttempt:
        own = next((transact for worker, transact in workers if worker is self), None)
        if own is None:
            own = Transact(MemoryStore().begin, self.now)
            workers.append((self, own))
        judged = await prove(replace(self, transact=own), *arguments)
        attempt = OwnAttempt(judged.is_correct, judged.subjects, judged.at, judged.locks)
        object.__setattr__(attempt, "own", own)
        return attempt

    patch.setattr(VerifyPassword, "__call__", prove_alone)


@fault("test_sessions.py::test_many_guesses_at_once_get_no_further")
def attempts_count_when_they_have_failed(patch: pytest.MonkeyPatch) -> None:
    def admit(self: LoginAttempts, at: datetime, limit: int, what: str) -> bool:
        if len(self.failed) >= limit:
            raise TooManyAttempts(self.failed[-limit] + ATTEMPT_WINDOW - at, what)
        self.pending = (*self.pending, at)
        self.version += 1
        return True

    patch.setattr(LoginAttempts, "admit", admit)


@fault("test_sessions.py::test_success_makes_up_for_nothing")
def success_makes_up_for_failures(patch: pytest.MonkeyPatch) -> None:
    settle = LoginAttempts.settle

    def settle_and_forgive(self: LoginAttempts, at: datetime, *, failed: bool) -> None:
        settle(self, at, failed=failed)
        self.failed = self.failed if failed else ()

    patch.setattr(LoginAttempts, "settle", settle_and_forgive)


@fault("test_sessions.py::test_an_address_may_fail_only_so_often")
def every_address_of_a_network_counts_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(passwords, "throttled_network", str)


# Refresh tokens


@fault("test_sessions.py::test_a_token_is_used_by_ten_at_once")
def rotation_is_not_locked(patch: pytest.MonkeyPatch) -> None:
    init = MemorySessions.__init__

    def init_unlocked(self: Any, tables: Any) -> None:
        init(self, tables)
        self.rows.check = self.tokens.check = lambda: None
        self._expect = lambda id, version: None

    patch.setattr(MemorySessions, "__init__", init_unlocked)


@fault(
    "test_sessions.py::test_a_token_is_used_by_ten_at_once",
    "test_owasp_api_top_10.py::test_api2_broken_authentication",
)
def reuse_is_refused_and_no_more(patch: pytest.MonkeyPatch) -> None:
    rotate = Session.rotate

    def rotate_only(self: Session, presented: bytes, successor: bytes, at: datetime) -> bool:
        return presented == self.token_hash and rotate(self, presented, successor, at)

    patch.setattr(Session, "rotate", rotate_only)


@fault("test_sessions.py::test_a_session_ends_when_it_must_however_often_it_is_refreshed")
def refreshing_puts_off_the_end(patch: pytest.MonkeyPatch) -> None:
    rotate = Session.rotate

    def rotate_for_ever(self: Session, presented: bytes, successor: bytes, at: datetime) -> bool:
        rotated = rotate(self, presented, successor, at)
        self.expires_at = at + timedelta(days=30)
        return rotated

    patch.setattr(Session, "rotate", rotate_for_ever)


@fault("test_sessions.py::test_what_ends_every_session", "test_sessions.py::test_a_new_password_races_a_refresh")
def a_new_password_leaves_sessions(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    patch.setattr(MemorySessions, "revoke_all", nothing)


@fault("test_sessions.py::test_tokens_are_kept_as_hashes")
def tokens_are_kept_as_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "hash_token", str.encode)


# Access tokens


@fault("test_auth.py::test_forgeries")
def the_token_chooses_the_algorithm(patch: pytest.MonkeyPatch) -> None:
    decode = jwt.decode

    def decode_as_told(token: str, *arguments: Any, **more: Any) -> Any:
        key, _, *rest = arguments or ("", None)
        return decode(token, key, [jwt.get_unverified_header(token)["alg"]], *rest, **more)

    patch.setattr(jwt, "decode", decode_as_told)


@fault("test_auth.py::test_forgeries")
def the_audience_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "RULES", {**tokens.RULES, "verify_aud": False})


@fault("test_auth.py::test_forgeries")
def the_issuer_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "RULES", {**tokens.RULES, "verify_iss": False})


@fault("test_auth.py::test_forgeries")
def claims_may_be_missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "RULES", {**tokens.RULES, "require": []})


@fault("test_auth.py::test_forgeries", "test_auth.py::test_a_token_ends_with_its_time")
def tokens_last_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "LEEWAY", 10**9)


# Routes and answers


@fault(
    "test_auth.py::test_every_route_but_the_open_ones_needs_a_token",
    "test_auth.py::test_a_route_added_tomorrow_is_closed",
)
def nobody_is_asked_for_a_token(patch: pytest.MonkeyPatch) -> None:
    for module in (auth, routing):
        patch.setattr(module, "authenticate", lambda request: UUID(int=0))


@fault("test_bodies.py::test_a_refusal_repeats_nothing")
def refusals_repeat_what_was_sent(patch: pytest.MonkeyPatch) -> None:
    told = validation._field_error

    def tell_all(found: dict[str, Any]) -> dict[str, str]:
        fault = told(found)
        return fault | {"detail": f"{fault['detail']}, and not {found['input']!r}"}

    patch.setattr(validation, "_field_error", tell_all)


def noticing(name: str | None) -> set[str]:
    """The tests that notice this fault; without a name, those that notice any."""
    return {test for known, fault in FAULTS.items() if name in {known, None} for test in fault.noticed_by}
