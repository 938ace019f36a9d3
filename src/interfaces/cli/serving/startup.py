"""The command `handover serve`: check the settings, open the port, prepare the store, then serve."""

import asyncio
import os
import sys
from collections.abc import Callable
from importlib.metadata import version

import structlog
from pydantic import SecretStr

from application.errors import Unavailable
from application.store import Store
from infrastructure.container import Settings, load_settings, open_store
from interfaces.certification.completeness import gaps, incomplete
from interfaces.cli.serving.listening import listen
from interfaces.cli.serving.metrics_folder import shared_metrics_folder
from interfaces.cli.serving.server import STOPPED, serve
from interfaces.cli.serving.supervisor import Supervisor
from interfaces.cli.store import naming_adapter
from interfaces.http.metrics import SHARED_FOLDER, remove_gauges
from interfaces.logs import configure_logs

log = structlog.get_logger()


def start() -> None:
    """Open the port, migrate the store if needed and allowed by the settings, then serve until a signal.

    The settings are read once and given to all workers, so that one that is replaced has those of the others. Once it
    serves, say where (see announcement()); the log has a line for each signal, and one at the end.

    Raise Misconfigured if a setting is wrong, unsafe in production or does not fit the store, if the adapter is broken
    or lacks methods, or if the port cannot be opened. Raise Unavailable if the store cannot be used, its schema is not
    current, or the server did not start.
    """
    settings = load_settings()
    with naming_adapter(settings):
        settings.check_serving(open_store(settings).capabilities)
    with listen(settings.host, settings.port) as listener:
        with naming_adapter(settings):
            asyncio.run(prepare_store(settings))
        configure_logs(settings)
        settings = settings.model_copy(update={"secret_key": SecretStr(settings.secret())})  # one for all workers
        announce = announcement(settings, *listener.getsockname()[:2])
        if settings.workers == 1:
            code = serve(settings, listener, on_started=announce)
        else:
            with shared_metrics_folder() as (folder, lock):
                os.environ[SHARED_FOLDER] = str(folder)  # prometheus_client reads it when it is imported
                supervisor = Supervisor(
                    settings,
                    listener,
                    on_started=announce,
                    on_ended=lambda worker: remove_gauges(folder, worker),
                    metrics_lock=lock,
                )
                code = asyncio.run(supervisor.run())
    if code != STOPPED:
        raise Unavailable("the server did not start; what is above says why")
    log.info("stopped")


async def prepare_store(settings: Settings) -> None:
    """Make sure that the store can be used and its schema is current, then close it; migrate it if the settings allow.

    Raise Misconfigured if the store lacks methods. Raise Unavailable if it cannot be used, if it is a SQLite file that
    this user may only read, or if its schema is newer, or not current and the settings do not allow to migrate it;
    otherwise as Store.upgrade() does. Called once, before any worker starts.
    """
    file = settings.sqlite_file
    is_file = file and os.access(file, os.F_OK) and not file.is_dir()  # of a folder, the store itself says so
    if file and is_file and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise Unavailable(
            f"the SQLite file {file} cannot be written: give this user the right to write to it and to its folder"
        )
    store = open_store(settings)
    await store.open()
    try:
        if lacking := [*gaps(Store, store)]:
            raise incomplete(settings.adapter, lacking)
        schema = await store.schema()
        if schema.is_current:
            return
        if schema.is_newer or not settings.migrates_on_start:
            raise Unavailable(
                f"the store's schema is {schema.found or 'missing'}, and {schema.needed} is needed: {schema.remedy}"
            )
        await store.upgrade()
    finally:
        await store.close()


def announcement(settings: Settings, host: str, port: int) -> Callable[[], None]:
    """Return a function that says on stderr that the server serves; it is to be called once it does.

    If the log is JSON, it logs the line `started`, with the version, the address, the store and the number of workers.
    Otherwise it writes the address, the docs page, the data location and how to stop. Passwords are masked.
    """
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    data = str(settings.sqlite_file or settings.masked_url)
    text = f"""\
Handover is at  {address}
its docs page   {address}/docs
its data        {data}
stop it with    Ctrl+C
"""

    def announce() -> None:
        """Log the line `started` if the log is JSON, else write the text for people."""
        if settings.logs_json:
            store = {"engine": settings.scheme, "adapter": settings.adapter, "data": data}
            log.info("started", version=version("handover"), url=address, workers=settings.workers, **store)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()

    return announce
