"""What comes before serving: what is refused, what is prepared once for all workers, and what is said."""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable

from application.errors import Unavailable
from infrastructure.container import Misconfigured, Settings, load_settings, open_store
from interfaces.cli.serving.metrics_folder import metrics_folder
from interfaces.cli.serving.server import STOPPED, serve
from interfaces.cli.serving.supervisor import Workers
from interfaces.http.routes.metrics import SHARED_FOLDER

QUEUE = 2048
"""Connections that the kernel keeps waiting, as long as no worker takes them."""


def start() -> None:
    settings = load_settings()
    settings.check_serving()
    with listen(settings.host, settings.port) as listener:
        asyncio.run(prepare(settings))
        os.environ["HANDOVER_SECRET_KEY"] = settings.secret()  # one for all workers, which read the environment
        started = announcement(settings, *listener.getsockname()[:2])
        if settings.workers == 1:
            code = serve(listener, started=started)
        else:
            with metrics_folder() as (folder, in_use):
                os.environ[SHARED_FOLDER] = str(folder)  # before a worker imports the library
                code = asyncio.run(Workers(settings.workers, listener, started, inherited=in_use).run())
    if code != STOPPED:
        raise Unavailable("the server did not start; what is above says why")


def listen(host: str, port: int) -> socket.socket:
    """The port is ours from here on, so whoever comes early waits instead of being turned away."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=QUEUE)
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                fault = f"HANDOVER_PORT: port {port} on {host} is taken; set it to another one"
            case errno.EACCES:
                fault = f"HANDOVER_PORT: port {port} is for the administrator; set it to 1024 or more"
            case _:
                fault = f"HANDOVER_HOST: {host} is no address of this machine; set it to one, such as 127.0.0.1"
        raise Misconfigured(fault) from None
    listener.setblocking(False)
    return listener


async def prepare(settings: Settings) -> None:
    """See that the store serves, with the schema that we need; make it so where that is ours to do."""
    store = open_store(settings)
    await store.open()
    try:
        schema = await store.schema()
        if schema.is_current:
            return
        if not settings.migrates_on_start:
            raise Unavailable(
                f"the store's schema is {schema.found or 'missing'}, and {schema.needed} is needed:"
                " run `handover migrate up`"
            )
        await store.upgrade()
    finally:
        await store.close()


def announcement(settings: Settings, host: str, port: int) -> Callable[[], None]:
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    text = f"""\
Handover is at  {address}
its docs page   {address}/docs
its data        {settings.sqlite_file or settings.shown_url}
stop it with    Ctrl+C
"""

    def announce() -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    return announce
