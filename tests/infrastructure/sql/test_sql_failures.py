"""What the SQL adapters do when their database fails: how each failure is told, how soon, and that nothing leaks."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from application.errors import Busy, OutcomeUnknown, TryAgain, Unavailable
from application.transact import Transact
from domain.user import User
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.engines.postgresql import AsyncpgDriver
from infrastructure.persistence.sqlalchemy.engines.postgresql_address import parse_address
from infrastructure.persistence.sqlmodel import SqlModelStore
from infrastructure.settings import Misconfigured, Settings
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import a_user
from interfaces.testing.clock_and_ids import SetClock
from tests.faults.store_connections import open_transactions
from tests.support import engines
from tests.support.fault_proxy import fault_proxy
from tests.support.servers import Postgres, postgres

POOL_SIZE = 3
SLOW_COMMIT = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION slow()
"""
FAILING_COMMIT = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()
"""

needs_postgresql = pytest.mark.skipif("postgresql" not in engines.selected(), reason="ENGINES leaves PostgreSQL out")


both_adapters = pytest.mark.parametrize("adapter", [SqlStore, SqlModelStore])

AnyStore = SqlStore | SqlModelStore


def settings(url: str, **others: Any) -> Settings:
    return Settings(database_url=url, _env_file=None, **({"pool_size": POOL_SIZE, "pool_timeout": 1} | others))


@asynccontextmanager
async def opened(settings: Settings, adapter: type[AnyStore] = SqlStore) -> AsyncIterator[AnyStore]:
    store = adapter(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def warm(store: AnyStore, user: User) -> None:
    """Fill the pool."""
    await asyncio.gather(*(store.users.get(user.id) for _ in range(3 * POOL_SIZE)))


async def all_is_well(store: AnyStore, user: User) -> None:
    async def change() -> None:
        async with store.begin() as uow:
            await uow.users.hold(user.id)
            await uow.commit()

    await asyncio.gather(*(store.users.get(user.id) for _ in range(3 * POOL_SIZE)))
    await asyncio.gather(*(change() for _ in range(3 * POOL_SIZE)))
    assert store.database.writers.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=[SqlStore, SqlModelStore])
async def store(server: Postgres, request: pytest.FixtureRequest) -> AsyncIterator[AnyStore]:
    outside = await asyncpg.connect(server.url)
    await outside.execute("DROP DATABASE IF EXISTS fresh WITH (FORCE)")
    await outside.execute("CREATE DATABASE fresh")
    await outside.close()
    async with opened(settings(f"{server.url.rpartition('/')[0]}/fresh"), request.param) as store:
        await store.upgrade()
        yield store


@pytest.fixture
async def user(store: AnyStore) -> User:
    user = a_user()
    await insert(store.begin, user)
    await warm(store, user)
    return user


async def execute(store: AnyStore, sql: str) -> None:
    connection = await asyncpg.connect(store.settings.database_url)
    await connection.execute(sql)
    await connection.close()


@needs_postgresql
@pytest.mark.parametrize("at", ["read", "begin", "statement", "commit", "rollback", "connect"])
async def test_a_hung_server_holds_nobody_up(at: str, store: AnyStore, user: User, server: Postgres) -> None:
    async def ask() -> None:
        if at == "connect":
            await store.database.readers.engine.dispose()
        if at in {"read", "begin", "connect"}:
            server.pause()
        if at in {"read", "connect"}:
            await store.users.get(user.id)
            return
        async with store.begin() as uow:
            await uow.users.hold(user.id)
            server.pause()
            if at == "statement":
                await uow.users.hold(user.id)
            if at == "commit":
                await uow.commit()

    try:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ask()
        assert time.monotonic() - started < 15  # it hangs for as long as this test lets it
    finally:
        server.resume()
    await all_is_well(store, user)


@needs_postgresql
async def test_a_commit_that_hangs_is_left_in_time(store: AnyStore, user: User) -> None:
    await execute(store, SLOW_COMMIT)
    transact = Transact(store.begin, SetClock(), deadline=0.3)

    started = time.monotonic()
    with pytest.raises(Busy):
        await transact(lambda uow: uow.users.add(a_user()))
    assert time.monotonic() - started < 15  # the commit takes 20 seconds

    await all_is_well(store, user)


@needs_postgresql
async def test_a_commit_that_fails_keeps_nothing(store: AnyStore, user: User) -> None:
    await execute(store, FAILING_COMMIT)
    other = a_user()
    with pytest.raises(Exception, match="no") as failure:
        await insert(store.begin, other)
    assert not isinstance(failure.value, (OutcomeUnknown, TryAgain, Unavailable))
    assert await store.users.find_by_login(other.username) is None
    await all_is_well(store, user)


@needs_postgresql
async def test_a_connection_lost_during_the_commit_leaves_the_outcome_unknown(store: AnyStore, user: User) -> None:
    await execute(store, SLOW_COMMIT)
    committing = asyncio.create_task(insert(store.begin, a_user()))
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query IN ('COMMIT', 'COMMIT;') AND state = 'active'"
    )
    while not committing.done():
        await execute(store, terminate)  # nothing, until the commit has begun
        await asyncio.sleep(0.05)
    with pytest.raises(OutcomeUnknown):
        await committing
    await all_is_well(store, user)


@needs_postgresql
async def test_connections_that_died_meanwhile_are_replaced(store: AnyStore, user: User, server: Postgres) -> None:
    server.kill()
    server.start()
    await warm(store, user)

    server.kill()
    server.start()
    await all_is_well(store, user)


@needs_postgresql
@pytest.mark.parametrize("at", ["read", "change"])
async def test_connections_on_which_no_answer_comes_are_replaced(
    at: str, store: AnyStore, user: User, server: Postgres
) -> None:
    """As after a failover to another machine with the same address: only new connections reach the server."""

    async def ask(through: AnyStore) -> None:
        async with asyncio.timeout(0.5):
            if at == "read":
                await through.users.get(user.id)
            else:
                async with through.begin() as uow:
                    await uow.users.hold(user.id)

    async with fault_proxy(server.port) as proxy:
        other = settings(proxy.url(store.settings.database_url), pool_timeout=30)
        async with opened(other, type(store)) as through:
            await warm(through, user)
            proxy.silence()
            answers = await asyncio.gather(*(ask(through) for _ in range(POOL_SIZE)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [TimeoutError] * POOL_SIZE
            async with asyncio.timeout(30):
                await all_is_well(through, user)


@needs_postgresql
@pytest.mark.parametrize("optimistic", [False, True])
async def test_nothing_of_a_unit_that_was_left_stays_on_its_connection(
    optimistic: bool, store: AnyStore, user: User
) -> None:
    """The only connection is used again, and what was not committed must not be committed with what comes next."""
    left, kept = a_user(), a_user()
    async with opened(settings(store.settings.database_url, pool_size=1), type(store)) as single:
        async with single.begin(optimistic=optimistic) as uow:
            await uow.users.add(left)
            await uow.users.hold(user.id)
        assert await open_transactions(store.settings.database_url) == 0
        await insert(single.begin, kept)
        assert await single.users.find_by_login(left.username) is None
        assert await single.users.find_by_login(kept.username) is not None


@needs_postgresql
async def test_a_server_that_is_down_is_said_to_be(store: AnyStore, user: User, server: Postgres) -> None:
    server.kill()
    try:
        asks: list[Callable[[], Awaitable[object]]] = [
            lambda: store.users.get(user.id),
            lambda: insert(store.begin, a_user()),
            store.schema,
            store.open,
            store.upgrade,
        ]
        for ask in asks:
            with pytest.raises(Unavailable, match="is it running"):
                await ask()
    finally:
        server.start()
    await all_is_well(store, user)


@needs_postgresql
async def test_a_connection_lost_within_a_unit(store: AnyStore, user: User, server: Postgres) -> None:
    async with store.begin() as uow:
        await uow.users.hold(user.id)
        server.kill()
        server.start()
        with pytest.raises((Unavailable, TryAgain)):
            await uow.users.hold(user.id)
    await all_is_well(store, user)


@needs_postgresql
async def test_saturation_is_busy_and_passes(store: AnyStore, user: User) -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def hog() -> None:
        async with store.begin():
            begun.release()
            await end.wait()

    hogs = [asyncio.create_task(hog()) for _ in range(POOL_SIZE)]
    for _ in hogs:
        await begun.acquire()
    with pytest.raises(Busy):
        await store.users.get(user.id)
    end.set()
    await asyncio.gather(*hogs)
    await all_is_well(store, user)


@needs_postgresql
async def test_cancellation_at_any_moment_leaks_nothing(store: AnyStore, user: User) -> None:
    async def change() -> None:
        async with store.begin() as uow:
            await uow.users.get_for_update(user.id)
            await uow.users.add(a_user())
            await uow.commit()

    async def cut_short(after: float) -> None:
        try:
            async with asyncio.timeout(after):
                await change()
        except (TimeoutError, Busy):
            pass

    for round_ in range(10):
        await asyncio.gather(*(cut_short((round_ + part) / 1000) for part in range(10)))
    await all_is_well(store, user)
    idle = await asyncpg.connect(store.settings.database_url)
    states = await idle.fetch("SELECT state FROM pg_stat_activity WHERE application_name = 'handover'")
    await idle.close()
    assert {row["state"] for row in states} <= {"idle"}


async def add_users_with_conditions(server: Postgres) -> None:
    """The user `locked` needs a password, `encrypted` needs TLS, which this server has not, and `crowded` may
    not connect at all."""
    access = server.folder / "data" / "pg_hba.conf"
    lines = "host all locked all scram-sha-256\nhostssl all encrypted all trust\nhost all encrypted all reject\n"
    if lines in access.read_text():
        return
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE ROLE locked LOGIN PASSWORD 'another'; CREATE ROLE encrypted LOGIN")
    await connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    access.write_text(lines + access.read_text())
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    while True:  # the server reads the file a moment later
        try:
            connection = await asyncpg.connect(server.url.replace("postgres@", "locked@"), password="wrong")
        except asyncpg.InvalidPasswordError:
            return
        await connection.close()


def test_a_file_that_may_not_be_read_is_told_with_the_home_in_which_the_driver_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/srv/somebody")
    error = AsyncpgDriver("PostgreSQL at db").classify(PermissionError(13, "Permission denied"))
    assert type(error) is Unavailable
    assert "check /srv/somebody/.postgresql" in str(error)
    assert str(error).endswith("(PermissionError: [Errno 13] Permission denied)")


def test_no_secret_of_the_address_is_told() -> None:
    address = parse_address("postgresql://u:hun%20ter2@db/x?password=hunter3&sslpassword=hunter4")
    driver = AsyncpgDriver(address.location, secrets=address.secrets)
    error = driver.classify(OSError("no hun ter2,\nno hunter3, no hunter4"))
    assert str(error).endswith("(OSError: no ***, no ***, no ***)")


@needs_postgresql
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda url: url.rpartition("/")[0] + "/nowhere",
            r'no database of this name.*\(InvalidCatalogNameError: database "nowhere"',
        ),
        (
            lambda url: url.replace("postgres@", "nobody:hunter2@"),
            r'refuses this user.*: role "nobody" does not exist\)',
        ),
        (
            lambda url: url.replace("postgres@", "locked:hunter2@"),
            r"refuses this password, or got none: .*, PGPASSWORD and /.*/.pgpass \(InvalidPasswordError: ",
        ),
        (
            lambda url: url.replace("postgres@", "locked@"),
            r"refuses this password, or got none: .*, PGPASSWORD and /.*/.pgpass \(InvalidPasswordError: ",
        ),
        (
            lambda url: url.replace("postgres@", "crowded:hunter2@"),
            r'CONNECTION LIMIT of the role or database \(TooManyConnectionsError: .* role "crowded"\)',
        ),
        (
            lambda url: url.replace("postgres@", "encrypted:hunter2@"),
            "refuses this user.*: pg_hba.conf rejects .*no encryption",
        ),
        (
            lambda _: "postgresql://somebody:hunter2@127.0.0.1:1/store",
            r"127.0.0.1:1 cannot be reached.*\(ConnectionRefused",
        ),
        (lambda _: "postgresql://somebody:hunter2@no-such-host.invalid/store", r"no host of this name.*\(gaierror: "),
        (
            lambda url: url + "?sslmode=require&password=hunter2",
            r"offers no encryption: set ssl=on there, or change sslmode .*\(ConnectionError: .*rejected SSL",
        ),
        (lambda url: url + "?sslmode=hunter2", r"a parameter that is wrong \(ClientConfigurationError: `sslmode`"),
        (lambda url: url + "?hunt_er2=1", r"a parameter in HANDOVER_DATABASE_URL \(UndefinedObjectError: .*hunt_er2"),
        (lambda url: url + "?sslpassword=hunter2&sslnegotiation=x", "`sslnegotiation` parameter"),
        (lambda url: url + "?target_session_attrs=standby", "none of these hosts"),
        (
            lambda _: "postgresql://somebody:hunter2@/store?host=/no/such/folder",
            r"no file or socket.* host and port \(FileNotFoundError: ",
        ),
        (lambda _: "postgresql://somebody:hunter2@/store?host=/tmp&port=1", r"host and port \(FileNotFoundError: "),
        (lambda url: url + "?sslmode=verify-full&sslrootcert=/no/such/file", r"sslrootcert.*\(FileNotFoundError: "),
    ],
)
async def test_a_wrong_address_is_told_in_one_line_with_its_cause(
    change: Callable[[str], str], told: str, server: Postgres
) -> None:
    await add_users_with_conditions(server)
    store = SqlStore(settings(change(server.url)))
    with pytest.raises(Unavailable, match=told) as error:
        await store.open()
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)
    await store.close()


@pytest.mark.parametrize(
    ("parameter", "size"), [("", 100), ("?statement_cache_size=0", 0), ("?statement_cache_size=7", 7)]
)
def test_the_driver_gets_the_size_of_its_cache_of_statements(parameter: str, size: int) -> None:
    assert parse_address(f"postgresql://u@host/db{parameter}").arguments["statement_cache_size"] == size


@needs_postgresql
@pytest.mark.parametrize(
    "address",
    [
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/postgres",
        "postgresql://postgres@/postgres?host=127.0.0.1:1&host=127.0.0.1:{port}",
        "postgresql://postgres@/postgres?host=127.0.0.1,127.0.0.1&port=1,{port}&connect_timeout=3",
        "postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable&statement_cache_size=0&jit=on",
    ],
)
async def test_an_address_may_have_hosts_and_parameters(address: str, server: Postgres) -> None:
    async with opened(settings(address.format(port=server.port))) as store:
        assert (await store.schema()).found is None


@pytest.mark.parametrize(
    "address",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://file.db",
        "postgresql://u:hunter2@host:port/db",
        "postgresql://u:hunter2@host/db?port=\N{SUPERSCRIPT TWO}",
        "postgresql://u:hunter2@host/db?statement_cache_size=hunter2",
        "postgresql://u:hunter2@host/db?statement_cache_size=-1",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Misconfigured, match="HANDOVER_DATABASE_URL") as error:
        SqlStore(settings(address))
    assert "hunter2" not in str(error.value)


async def test_a_file_that_cannot_be_a_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at as one " * 99)
    for file, told in {"missing/a.db": "create its folder", ".": "is a folder", "text.db": "not a SQLite data"}.items():
        store = SqlStore(settings(f"sqlite:///{tmp_path / file}"))
        with pytest.raises(Unavailable, match=told) as error:
            await store.open()
        assert str(tmp_path) in str(error.value)
        await store.close()


@both_adapters
async def test_a_store_without_a_schema_says_what_to_do(adapter: type[AnyStore], tmp_path: Path) -> None:
    async with opened(settings(f"sqlite:///{tmp_path / 'store.db'}"), adapter) as store:
        with pytest.raises(Unavailable, match="handover migrate up"):
            await store.users.find_by_login("ann")


async def test_sqlite_is_set_up_to_be_safe(tmp_path: Path) -> None:
    async with opened(settings(f"sqlite:///{tmp_path / 'store.db'}")) as store:
        for pool in (store.database.readers, store.database.writers):
            async with pool.engine.connect() as connection:
                found = [
                    (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                    for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
                ]
            assert found == ["wal", 5000, 1, 2]


@both_adapters
async def test_waiting_for_another_process_on_sqlite_can_be_cut_short(adapter: type[AnyStore], tmp_path: Path) -> None:
    user = a_user()
    async with opened(settings(f"sqlite:///{tmp_path / 'store.db'}"), adapter) as store:
        await store.upgrade()
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await insert(store.begin, user)
        assert time.monotonic() - started < 4  # SQLite itself would wait for 5 seconds

        other.execute("ROLLBACK")
        await asyncio.sleep(0.2)  # the thread that waited for the lock has had it by now, and given it back
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        other.close()
        assert await store.users.find_by_login(user.username) is None
        await insert(store.begin, user)
        await all_is_well(store, user)
