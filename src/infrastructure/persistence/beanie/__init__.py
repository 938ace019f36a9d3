"""MongoDB through Beanie.

Needs a replica set, since only that has transactions. What a killed client's transaction has written stays unwritable
until the server gives the transaction up, after a minute unless mongod runs with
`--setParameter transactionLifetimeLimitSeconds=5`.
"""

from infrastructure.persistence.beanie.store import BeanieStore
from infrastructure.settings import Settings

__all__ = ["open_store"]


def open_store(settings: Settings) -> BeanieStore:
    return BeanieStore(settings)
