"""PostgreSQL addresses: URLs as libpq reads them, as arguments of asyncpg.connect().

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from infrastructure.settings import Misconfigured

LIBPQ_ONLY = {"channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_idle"}
"""Parameters of libpq that asyncpg would pass on to the server, which does not know them. They are ignored."""
HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """The servers of a URL, to be tried in this order, and the other arguments of asyncpg.connect().

    A host or port that is None is left to asyncpg's defaults.
    """

    hosts: list[tuple[str | None, int | None]]
    arguments: dict[str, Any]

    @property
    def location(self) -> str:
        """The servers as error messages name them: `PostgreSQL at db1:5432, db2`, or `PostgreSQL` without a host."""
        bracketed = ((f"[{host}]" if host and ":" in host else host, port) for host, port in self.hosts)
        hosts = [f"{host}:{port}" if port else host for host, port in bracketed if host]
        return f"PostgreSQL at {', '.join(hosts)}" if hosts else "PostgreSQL"

    @property
    def secrets(self) -> list[str]:
        """The passwords in the URL, which no message may show: that of the user, and those among the parameters."""
        parameters = parse_qsl(urlsplit(self.arguments["dsn"]).query)
        found = [self.arguments["password"], *(value for name, value in parameters if "password" in name)]
        return [secret for secret in found if secret]


def parse_address(url: str) -> Address:
    """Parse a PostgreSQL URL, whose hosts are in its authority or in the parameters `host` and `port`.

    If both name hosts, the parameter counts; a port behind a host counts rather than the parameter `port`. All other
    parameters are passed on to asyncpg, except those of LIBPQ_ONLY. Missing ones get our defaults:
    `application_name=handover`, `jit=off`, `statement_cache_size=100`, and with several hosts
    `target_session_attrs=read-write`.

    Raise Misconfigured if a host or port or `statement_cache_size` is not valid, or the ports do not fit the hosts.
    """
    parts = urlsplit(url)
    login, _, netloc = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query))
    named = [host for name, value in parse_qsl(parts.query) if name == "host" for host in value.split(",")]
    hosts = [_parse_host(host) for host in (named or netloc.split(","))]
    ports = _parse_ports(query.get("port", ""), len(hosts))
    if any(port and port > HIGHEST_PORT for port in (*(port for _, port in hosts), *ports)):
        raise Misconfigured(f"HANDOVER_DATABASE_URL: a port is at most {HIGHEST_PORT}")
    cache_size = query.get("statement_cache_size", "100")
    if not re.fullmatch("[0-9]{1,6}", cache_size):
        raise Misconfigured(
            "HANDOVER_DATABASE_URL: statement_cache_size must be a whole number, 0 for a PgBouncer before 1.21"
        )
    ignored = {"host", "port", "statement_cache_size", *LIBPQ_ONLY}
    options = {name: value for name, value in query.items() if name not in ignored}
    options.setdefault("application_name", "handover")
    options.setdefault("jit", "off")
    if len(hosts) > 1:
        options.setdefault("target_session_attrs", "read-write")
    return Address(
        hosts=[(host, port or default) for (host, port), default in zip(hosts, ports, strict=True)],
        arguments={
            "dsn": f"postgresql://{parts.path}?{urlencode(options)}",
            "user": unquote(user) or None,
            "password": unquote(password) or None,
            "statement_cache_size": int(cache_size),
        },
    )


def _parse_ports(text: str, count: int) -> list[int | None]:
    """Return the port of each of `count` hosts, None where none is given.

    The text is one port for all hosts, or one for each, with commas between; raise Misconfigured otherwise.
    """
    ports = text.split(",")
    if len(ports) not in (1, count) or not all(port.isdecimal() for port in ports if port):
        raise Misconfigured("HANDOVER_DATABASE_URL: the ports do not fit the hosts")
    return [int(port) if port else None for port in (ports * count if len(ports) == 1 else ports)]


def _parse_host(text: str) -> tuple[str | None, int | None]:
    """Return host and port of `host`, `host:port`, `[IPv6 address]` or `[IPv6 address]:port`, None for a missing part.

    Raise Misconfigured if the text has another form.
    """
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d+))?", text)
    if not match:
        raise Misconfigured("HANDOVER_DATABASE_URL: must be postgresql://user:password@host:port/database")
    port = match["port"]
    return unquote(match["v6"] or match["host"]) or None, int(port) if port else None
