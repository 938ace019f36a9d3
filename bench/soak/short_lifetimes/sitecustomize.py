"""Makes idempotency keys, sessions and log-in attempts expire within two minutes, so that a soak sees them purged.

Handover's settings allow no such short times. Python imports this module when it starts, in every process that has this
folder in PYTHONPATH: the server, its workers, and `handover doctor`.
"""

from datetime import timedelta

from application import record_rules, transact
from domain import session
from infrastructure.settings import Settings

KEYS, SESSIONS, ATTEMPTS = timedelta(seconds=90), timedelta(seconds=120), timedelta(seconds=60)

vars(transact)["KEY_LIFETIME"] = KEYS
vars(record_rules)["ATTEMPT_WINDOW"] = vars(session)["ATTEMPT_WINDOW"] = ATTEMPTS
Settings.refresh_token_lifetime = property(lambda _: SESSIONS)  # type: ignore[method-assign, assignment]
