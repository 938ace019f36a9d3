"""The container: it creates and connects all objects. Interfaces import nothing else of the infrastructure."""

import inspect
from collections.abc import Mapping

from application.ports import PasswordHasher, Tokens
from application.readers import ItemReader, TaskReader, TransferReader, UserReader
from application.store import Store
from application.transact import Transact
from application.use_cases.check_store import CheckStore
from application.use_cases.health import CheckWritable
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem, TransferItem
from application.use_cases.passwords import VerifyPassword
from application.use_cases.purge import PurgeExpired, PurgeInTurn
from application.use_cases.sessions import RefreshSession, SignIn, SignOut
from application.use_cases.tasks import ChangeTask, CreateTask, DeleteTask
from application.use_cases.users import (
    ActivateUser,
    ChangeAccount,
    CreateUser,
    DeactivateUser,
    DeleteAccount,
    ReadAccount,
)
from infrastructure.adapters import SCHEMES_BY_ADAPTER, described, installed_adapters
from infrastructure.clock_and_ids import new_id, new_token, utc_now
from infrastructure.dependency_injector_core import containers, providers
from infrastructure.security.passwords import Argon2Passwords
from infrastructure.security.tokens import JwtTokens
from infrastructure.settings import Misconfigured, Settings, ignored_lines, load_settings, unknown_variables
from infrastructure.tracing import Tracing, traced_begin

__all__ = [
    "Container",
    "Misconfigured",
    "Settings",
    "build_container",
    "described",
    "ignored_lines",
    "load_settings",
    "open_store",
    "unknown_variables",
    "use_cases_and_ports",
]

EXTRAS = {"beanie": "mongodb", "sqlmodel": "sqlmodel"}
"""The extra of our package that brings what an adapter of ours imports."""


def open_store(settings: Settings) -> Store:
    """Import the adapter that the settings name, and return its store, which is not opened yet.

    Raise Misconfigured if the adapter is not installed, if it is one of ours for another engine than that of the URL,
    if it cannot be imported, if it refuses the settings, or if it returns no store.
    """
    adapters = installed_adapters()
    if settings.adapter not in adapters:
        raise Misconfigured(
            f"HANDOVER_PERSISTENCE: there is no such adapter; installed are {', '.join(sorted(adapters))}"
        )
    schemes = SCHEMES_BY_ADAPTER.get(settings.adapter, [settings.scheme])
    if settings.scheme not in schemes:
        raise Misconfigured(
            f"HANDOVER_PERSISTENCE: the adapter {settings.adapter} is for"
            f" {' and '.join(f'{scheme}://' for scheme in schemes)}, but HANDOVER_DATABASE_URL begins with"
            f" {settings.scheme}://: change that URL, or leave HANDOVER_PERSISTENCE out, which follows from it"
        )
    entry = adapters[settings.adapter]
    try:
        make = entry.load()
    except Exception as error:
        extra = EXTRAS.get(settings.adapter)
        if isinstance(error, ModuleNotFoundError) and extra:
            package = str(error.name).partition(".")[0]
            problem = f"needs the package {package}: pip install 'handover[{extra}]'"
        else:
            problem = f"cannot be imported as {entry.value}: {described(error)}"
        raise Misconfigured(f"HANDOVER_PERSISTENCE: the adapter {settings.adapter} {problem}") from error
    store: Store | None = make(settings)
    if inspect.iscoroutine(store):
        store.close()
        raise Misconfigured(f"the adapter {settings.adapter}: {entry.value} must not be `async def`, but `def`")
    if store is None:
        raise Misconfigured(f"the adapter {settings.adapter}: {entry.value} returned None, not a Store")
    return store


class Container(containers.DeclarativeContainer):
    """The wiring of Handover, by dependency-injector. It needs `settings`, and creates each object at its first use."""

    settings = providers.Dependency(instance_of=Settings)
    now = providers.Object(utc_now)
    ids = providers.Object(new_id)
    new_token = providers.Object(new_token)

    tracing = providers.Singleton(Tracing)
    store = providers.Singleton(open_store, settings)
    passwords = providers.Singleton(Argon2Passwords, workers=settings.provided.workers)
    tokens = providers.Singleton(
        JwtTokens,
        secret=settings.provided.secret_key,
        previous=settings.provided.secret_key_previous,
        minutes=settings.provided.access_token_minutes,
    )
    begin = providers.Singleton(traced_begin, store.provided.begin)
    transact = providers.Singleton(Transact, begin=begin, now=now, deadline=settings.provided.request_deadline)

    verify_password = providers.Singleton(
        VerifyPassword,
        transact,
        passwords,
        now,
        settings.provided.login_failures_per_account,
        settings.provided.login_failures_per_address,
    )

    purge_expired = providers.Singleton(PurgeExpired, store, now)

    use_cases_and_ports = providers.Dict(
        {
            CreateUser: providers.Singleton(CreateUser, transact, passwords, ids, now, settings.provided.sign_up_limit),
            ReadAccount: providers.Singleton(ReadAccount, store.provided.users),
            ChangeAccount: providers.Singleton(
                ChangeAccount, transact, store.provided.users, verify_password, passwords
            ),
            DeleteAccount: providers.Singleton(DeleteAccount, transact),
            ActivateUser: providers.Singleton(ActivateUser, transact, store.provided.users),
            DeactivateUser: providers.Singleton(DeactivateUser, transact, store.provided.users),
            SignIn: providers.Singleton(
                SignIn,
                transact,
                store.provided.users,
                verify_password,
                passwords,
                tokens,
                new_token,
                ids,
                now,
                settings.provided.refresh_token_lifetime,
            ),
            RefreshSession: providers.Singleton(RefreshSession, transact, tokens, new_token, now),
            SignOut: providers.Singleton(SignOut, transact),
            CreateItem: providers.Singleton(CreateItem, transact, ids, now),
            ChangeItem: providers.Singleton(ChangeItem, transact),
            DeleteItem: providers.Singleton(DeleteItem, transact),
            TransferItem: providers.Singleton(TransferItem, transact, ids, now),
            CreateTask: providers.Singleton(CreateTask, transact, ids, now),
            ChangeTask: providers.Singleton(ChangeTask, transact),
            DeleteTask: providers.Singleton(DeleteTask, transact),
            CheckWritable: providers.Singleton(CheckWritable, transact, ids, now),
            CheckStore: providers.Singleton(CheckStore, store, now),
            PurgeExpired: purge_expired,
            PurgeInTurn: providers.Singleton(
                PurgeInTurn, transact, purge_expired, now, settings.provided.time_between_purges
            ),
            UserReader: store.provided.users,
            ItemReader: store.provided.items,
            TransferReader: store.provided.transfers,
            TaskReader: store.provided.tasks,
            Store: store,
            Tokens: tokens,
            PasswordHasher: passwords,
        }
    )
    """What interfaces may ask for, by its class."""


def build_container(settings: Settings) -> Container:
    """Return a new container with these settings. Nothing else is created yet."""
    return Container(settings=providers.Object(settings))


def use_cases_and_ports(container: Container) -> Mapping[type, object]:
    """Return all use cases and ports by their class. The first call creates them; the store is not opened.

    Raise Misconfigured as open_store() does.
    """
    by_class: Mapping[type, object] = container.use_cases_and_ports()
    return by_class
