from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.session import LoginAttempts, TooManyAttempts
from interfaces.testing.builders import NOON, a_session, a_user

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def test_each_token_works_once() -> None:
    session = a_session(a_user(), token_hash=b"first", expires_at=NOON + HOUR)
    assert session.rotate(b"first", b"second", NOON)
    assert session.rotate(b"second", b"third", NOON)
    assert (session.token_hash, session.revoked, session.version) == (b"third", False, 3)


def test_a_spent_token_ends_the_session() -> None:
    session = a_session(a_user(), token_hash=b"first", expires_at=NOON + HOUR)
    session.rotate(b"first", b"second", NOON)
    assert not session.rotate(b"first", b"stolen", NOON)
    assert session.revoked
    assert not session.rotate(b"second", b"third", NOON)


def test_refreshing_does_not_put_off_the_end() -> None:
    session = a_session(a_user(), token_hash=b"first", expires_at=NOON + HOUR)
    assert session.rotate(b"first", b"second", NOON + 59 * MINUTE)
    assert not session.rotate(b"second", b"third", NOON + HOUR)
    assert not session.revoked


def failed(attempts: LoginAttempts, times: int) -> None:
    for number in range(times):
        at = NOON + number * MINUTE
        assert attempts.admit(at, limit=3)
        attempts.settle(at, failed=True)


def test_after_so_many_failures_nobody_is_judged_for_a_while() -> None:
    attempts = LoginAttempts(subject=b"ada")
    failed(attempts, 3)
    with pytest.raises(TooManyAttempts) as refusal:
        attempts.admit(NOON + 3 * MINUTE, limit=3)
    assert refusal.value.retry_after == 12 * MINUTE
    assert attempts.admit(NOON + 15 * MINUTE, limit=3)


def test_being_refused_does_not_count() -> None:
    attempts = LoginAttempts(subject=b"ada")
    failed(attempts, 3)
    for _ in range(5):
        with pytest.raises(TooManyAttempts):
            attempts.admit(NOON + 3 * MINUTE, limit=3)
    assert attempts.admit(NOON + 15 * MINUTE, limit=3)


def test_success_neither_counts_nor_makes_up_for_failures() -> None:
    attempts = LoginAttempts(subject=b"ada")
    failed(attempts, 2)
    for _ in range(5):
        assert attempts.admit(NOON + 2 * MINUTE, limit=3)
        attempts.settle(NOON + 2 * MINUTE, failed=False)
    assert len(attempts.failed) == 2


def test_attempts_wait_while_those_before_could_still_fail() -> None:
    attempts = LoginAttempts(subject=b"ada")
    assert all(attempts.admit(NOON, limit=3) for _ in range(3))
    assert not attempts.admit(NOON, limit=3)
    attempts.settle(NOON, failed=False)
    assert attempts.admit(NOON, limit=3)


def test_an_attempt_that_was_cut_off_has_failed() -> None:
    attempts = LoginAttempts(subject=b"ada")
    assert all(attempts.admit(NOON, limit=3) for _ in range(3))
    with pytest.raises(TooManyAttempts):
        attempts.admit(NOON + MINUTE, limit=3)


def test_a_clock_that_was_set_back_locks_nobody_out_for_longer() -> None:
    attempts = LoginAttempts(subject=b"ada")
    failed(attempts, 3)
    earlier = NOON - HOUR
    assert attempts.correct(earlier)
    assert not attempts.correct(earlier)
    with pytest.raises(TooManyAttempts) as refusal:
        attempts.admit(earlier, limit=3)
    assert refusal.value.retry_after == 15 * MINUTE
    assert attempts.admit(earlier + 15 * MINUTE, limit=3)


def test_an_attempt_that_was_pending_when_the_clock_was_set_back_has_failed() -> None:
    attempts = LoginAttempts(subject=b"ada")
    assert all(attempts.admit(NOON, limit=3) for _ in range(2))
    assert attempts.correct(NOON - HOUR)
    assert (attempts.failed, attempts.pending) == ((NOON - HOUR,) * 2, ())


def test_an_attempt_that_a_server_whose_clock_is_ahead_is_verifying_can_be_settled() -> None:
    attempts = LoginAttempts(subject=b"ada")
    assert attempts.admit(NOON + timedelta(seconds=5), limit=3)
    assert not attempts.correct(NOON)
    attempts.settle(NOON + timedelta(seconds=5), failed=False)
    assert (attempts.failed, attempts.pending) == ((), ())


def test_an_attempt_is_pending_for_fifteen_seconds() -> None:
    attempts = LoginAttempts(subject=b"ada")
    assert attempts.admit(NOON, limit=1)
    assert not attempts.admit(NOON + timedelta(seconds=14.999), limit=1)
    with pytest.raises(TooManyAttempts):
        attempts.admit(NOON + timedelta(seconds=15), limit=1)


@pytest.mark.parametrize("count", [LoginAttempts.admit, LoginAttempts.count_sign_up])
def test_with_more_than_a_limit_that_was_lowered_the_wait_is_until_fewer_count(
    count: Callable[..., object],
) -> None:
    attempts = LoginAttempts(subject=b"ada", failed=tuple(NOON + number * MINUTE for number in range(5)))
    with pytest.raises(TooManyAttempts) as refusal:
        count(attempts, NOON + 5 * MINUTE, limit=2)
    assert refusal.value.retry_after == 13 * MINUTE
    count(attempts, NOON + 18 * MINUTE, limit=2)


def test_an_older_attempt_that_was_interrupted_counts_from_its_own_time() -> None:
    attempts = LoginAttempts(subject=b"ada", failed=(NOON + 10 * MINUTE,), pending=(NOON,))
    with pytest.raises(TooManyAttempts) as refusal:
        attempts.admit(NOON + 11 * MINUTE, limit=2)
    assert refusal.value.retry_after == 4 * MINUTE
