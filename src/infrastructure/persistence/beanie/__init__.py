"""The adapter for MongoDB, with Beanie.

It needs a replica set, because a standalone server has no transactions. If a client is killed in a transaction, nobody
else can write what the transaction has written until the server aborts it: after a minute, unless mongod runs with
`--setParameter transactionLifetimeLimitSeconds=5`.

`store` is what the application sees. `writing` has the repositories of units of work, `reading` the readers.
`documents` is the schema, `rows` converts between stored documents and entities.
"""

from infrastructure.persistence.beanie.store import BeanieStore
from infrastructure.settings import Settings

__all__ = ["open_store"]


def open_store(settings: Settings) -> BeanieStore:
    """Return the store that the settings name, not connected yet. This is the adapter's entry point."""
    return BeanieStore(settings)
