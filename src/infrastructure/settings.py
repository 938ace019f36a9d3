"""All settings: read from `HANDOVER_*` in the environment or from a `.env` file, and validated once at the start."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import Binding, Original, parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from application.store import Capabilities
from infrastructure.adapters import ADAPTER_BY_SCHEME, known_schemes
from infrastructure.security.secret_key import MIN_BYTES, new_secret, read_or_create_secret, weakness

# Up to the last @, so that a password that contains @ or / is masked completely.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:@/?]*):.*@")
AT_BEHIND_AUTHORITY = re.compile(r"[^/?#]+[/?#].*@", re.DOTALL)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", re.IGNORECASE)
SIGN_UPS_IN_PRODUCTION = 15
PREFIX = "HANDOVER_"
logging.getLogger("dotenv").setLevel(logging.ERROR)  # its warnings, each several times, are those of ignored_lines()
Source = Literal[
    "environment",
    ".env",
    "default",
    "generated file",
    "generated at start",
    "from HANDOVER_DATABASE_URL",
    "from HANDOVER_ENVIRONMENT",
]
DERIVED: dict[str, tuple[str, Source]] = {
    "persistence": ("database_url", "from HANDOVER_DATABASE_URL"),
    "sign_ups_per_address": ("environment", "from HANDOVER_ENVIRONMENT"),
    "migrate_on_start": ("environment", "from HANDOVER_ENVIRONMENT"),
    "log_format": ("environment", "from HANDOVER_ENVIRONMENT"),
}
"""Settings whose default depends on another one, by name: that one, and how sources() names it."""
SECRET_IN_QUERY = re.compile(r"([?&][^=&]*(?:pass|secret|key|token|properties)[^=&]*)=[^&]*", re.IGNORECASE)


class Misconfigured(Exception):
    """A setting is wrong or missing. The message is one line that says what to do, without the value."""


class Settings(BaseSettings):
    """All settings, which cannot be changed once read. docs/settings.md explains each of them.

    Use load_settings() to read them: it raises Misconfigured where this class raises ValidationError.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: str = Field("sqlite:///handover.db", repr=False)
    persistence: str = ""
    secret_key: SecretStr | None = None
    secret_key_previous: SecretStr | None = None
    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    pool_size: int = Field(10, ge=1, le=1000)
    pool_overflow: int = Field(0, ge=0, le=1000)
    pool_timeout: float = Field(3, gt=0, le=60)
    pool_recycle: int = Field(3600, ge=-1)
    pool_pre_ping: bool = False
    access_token_minutes: int = Field(15, ge=1, le=24 * 60)
    refresh_token_days: int = Field(30, ge=1, le=365)
    login_failures_per_account: int = Field(10, ge=1)
    login_failures_per_address: int = Field(100, ge=1)
    sign_ups_per_address: int | None = Field(None, ge=1)
    drain_seconds: float = Field(1, ge=0, le=20)
    request_deadline: float = Field(4.5, gt=0, le=60)
    purge_interval: int = Field(300, ge=0, le=24 * 60 * 60)
    # Not REPEATABLE READ: a password change would not see a session that began while it waited for a lock.
    isolation: Literal["READ COMMITTED", "SERIALIZABLE"] | None = None
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    metrics_token: SecretStr | None = None
    migrate_on_start: bool | None = None
    log_format: Literal["console", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Return the parts of a comma-separated text, stripped of white space and without empty ones.

        A value that is not a text is returned unchanged.
        """
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Return the value unchanged; raise ValueError unless all are IP addresses or networks.

        Also raise it for a network that includes every address, such as `0.0.0.0/0`.
        """
        for address in value:
            try:
                network = ip_network(address, strict=False)
            except ValueError:
                raise ValueError("must be IP addresses or networks such as 10.0.0.0/8, with commas between") from None
            if "/" in address and network.network_address != ip_interface(address).ip:
                raise ValueError(f"has an address in a network: it must be {network}, or the address alone")
            if network.prefixlen == 0:
                raise ValueError("must not be everybody, who could then claim any address")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        """Return the URL unchanged; raise ValueError if its scheme is not a known one or it cannot be parsed.

        Also raise it if an `@` comes after the authority: a password with `/`, `?` or `#` would end the authority, and
        what follows in it would be taken for a path, which messages show. In a URL of SQLite, raise it for whatever is
        not part of the path, because two URLs that differ in it alone would name the same file.
        """
        scheme, separator, rest = value.partition("://")
        known = known_schemes()
        if not separator or scheme not in known:
            near = "".join(f"; did you mean {name}://?" for name in get_close_matches(scheme, known, 1) if separator)
            raise ValueError(f"must start with one of {', '.join(f'{name}://' for name in known)}{near}")
        if AT_BEHIND_AUTHORITY.match(rest):
            raise ValueError(
                "has an @ after a /, ? or #: in the password, write @ : / % # ? as %40 %3A %2F %25 %23 %3F;"
                " after the host, write @ as %40"
            )
        try:
            parts = urlsplit(value)
        except ValueError:  # whose message can have a part of the password
            raise ValueError("has a host that is not valid: only an IPv6 address is written in [ ]") from None
        if scheme == "sqlite" and parts.netloc + parts.path != rest:  # urlsplit() also leaves out tabs and line breaks
            raise ValueError(
                "must be sqlite:///file or sqlite:////folder/file, without options; a ?, # or control character cannot"
                " be in the name of the file"
            )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Return the value unchanged; raise ValueError unless all are `*` or origins as browsers send them.

        Such an origin has a scheme and a host, and nothing after the host but a port.
        """
        if not all(origin == "*" or ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("must be origins such as https://example.org, without a path, with commas between, or *")
        return value

    @property
    def scheme(self) -> str:
        """The scheme of the database URL, such as `postgresql`."""
        return urlsplit(self.database_url).scheme

    @property
    def sqlite_file(self) -> Path | None:
        """The absolute path of the SQLite file; None if the scheme is not `sqlite`.

        `sqlite:///x.db` names a file in the working directory, `sqlite:////var/x.db` the file /var/x.db.
        """
        return Path(urlsplit(self.database_url).path[1:]).absolute() if self.scheme == "sqlite" else None

    @property
    def adapter(self) -> str:
        """The name of the adapter, such as `sqlalchemy`: an entry point in the group `handover.persistence`.

        It is the setting `persistence`. If that is empty, it is the usual adapter for the scheme of the database URL,
        or the scheme itself if it has none. Whether the adapter is installed is not checked here.
        """
        return self.persistence or ADAPTER_BY_SCHEME.get(self.scheme, self.scheme)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        """How long a session lasts after the sign-in: `refresh_token_days`."""
        return timedelta(days=self.refresh_token_days)

    @property
    def sign_up_limit(self) -> int | None:
        """How many sign-ups within 15 minutes one client address may make; None, outside production, for any number.

        It is the setting `sign_ups_per_address` or, if that is not set in production, SIGN_UPS_IN_PRODUCTION.
        """
        return self.sign_ups_per_address or (SIGN_UPS_IN_PRODUCTION if self.in_production else None)

    @property
    def time_between_purges(self) -> timedelta:
        """How long after one purge in the background the next one begins; zero means that there are no purges."""
        return timedelta(seconds=self.purge_interval)

    @property
    def in_production(self) -> bool:
        """Whether the environment is production, where unsafe settings are refused."""
        return self.environment == "production"

    def check_serving(self, capabilities: Capabilities) -> None:
        """Raise Misconfigured, with all reasons, if a server must not run with these settings on such a store.

        The reasons are several workers on a store that lives in one process, a previous secret key that is the current
        one and, in production only, a store that is not durable and every setting that is not safe there, such as a
        weak secret key.
        """
        faults = []
        if self.secret_key and self.secret_key == self.secret_key_previous:
            faults.append(
                "HANDOVER_SECRET_KEY_PREVIOUS: is the same as HANDOVER_SECRET_KEY: set the other key, or none"
            )
        if capabilities.processes == "one" and self.workers > 1:
            faults.append(f"HANDOVER_WORKERS: {self.scheme}:// lives in one process; set it to 1, or use another store")
        if self.in_production:
            faults.extend(self._faults_in_production())
            if not capabilities.durable:
                faults.append("HANDOVER_DATABASE_URL: production keeps nothing in memory: name a store that lasts")
        if faults:
            raise Misconfigured("; ".join(faults))

    def _faults_in_production(self) -> Iterator[str]:
        """Yield a message for each setting that is not safe in production.

        These are a secret key that is missing or weak, a weak previous key, the log level debug, and `*` among the CORS
        origins. The environment itself is not checked here.
        """
        remedy = f"set it to at least {MIN_BYTES} random bytes, such as `openssl rand -hex 32` prints"
        if self.secret_key is None:
            yield f"HANDOVER_SECRET_KEY: production needs one: {remedy}"
        for name, secret in ("SECRET_KEY", self.secret_key), ("SECRET_KEY_PREVIOUS", self.secret_key_previous):
            if secret is not None and (fault := weakness(secret.get_secret_value())):
                yield f"HANDOVER_{name}: this one is {fault}: {remedy}"
        if self.log_level == "debug":
            yield "HANDOVER_LOG_LEVEL: production does not debug: set it to info, warning or error"
        if "*" in self.cors_origins:
            yield "HANDOVER_CORS_ORIGINS: production names its origins: * is none"

    def secret(self) -> str:
        """Return the secret key: the one that is set, or one that is kept in a file next to a SQLite database.

        The file has the name of the database with `.secret` added, and is created with a new key if it does not exist.
        With another engine, return a new random key each time. Raise Misconfigured if the file cannot be read or
        created, or if its key is shorter than MIN_BYTES.
        """
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        if self.sqlite_file is None:
            return new_secret()
        path = self.sqlite_file.with_name(f"{self.sqlite_file.name}.secret")
        try:
            secret = read_or_create_secret(path)
        except (OSError, ValueError) as error:
            raise Misconfigured(f"HANDOVER_SECRET_KEY: set it, since none can be kept in {path}: {error}") from None
        if len(secret) < MIN_BYTES:
            raise Misconfigured(f"HANDOVER_SECRET_KEY: {path} holds none: delete that file, or set the variable")
        return secret

    @property
    def masked_url(self) -> str:
        """The database URL with `***` for the password and for the values of secret options, such as `sslpassword`."""
        return SECRET_IN_QUERY.sub(r"\1=***", PASSWORD_IN_URL.sub(r"\1:***@", self.database_url))

    @property
    def location(self) -> str:
        """The store that the URL names, without user, password and options, to tell stores apart.

        Examples are `postgresql://host:5432/handover` and `sqlite:///var/x.db`, which has the absolute path.
        """
        parts = urlsplit(self.database_url)
        return f"{parts.scheme}://{self.sqlite_file or parts.netloc.rpartition('@')[2] + parts.path}"

    def masked_values(self) -> dict[str, Any]:
        """Return the value of every setting by the name of its variable, such as `HANDOVER_PORT`, with secrets masked.

        Settings that depend on others have the values that take effect if they are not set. The values are of JSON's
        types. None is no value, or for HANDOVER_ISOLATION that of the engine.
        """
        resolved = {
            "database_url": self.masked_url,
            "persistence": self.adapter,
            "secret_key": "**********" if self.secret_key or not self.in_production else None,
            "sign_ups_per_address": self.sign_up_limit,
            "migrate_on_start": self.migrates_on_start,
            "log_format": "json" if self.logs_json else "console",
        }
        return {f"{PREFIX}{name.upper()}": value for name, value in (self.model_dump(mode="json") | resolved).items()}

    def sources(self) -> dict[str, Source]:
        """Return where the value of each setting came from, by the name of its variable.

        The environment and the file `.env` are read again. A secret key that is not set is one that secret() generates,
        in production none. A setting of DERIVED that is not set comes from the other one if that is set.
        """
        environment = EnvSettingsSource(type(self)).env_vars
        file = {name for name, value in DotEnvSettingsSource(type(self)).env_vars.items() if value is not None}
        generated: Source = "generated file" if self.sqlite_file else "generated at start"

        def source(field: str) -> Source:
            """Return where the value of one setting came from."""
            variable = f"{PREFIX}{field}".lower()
            if variable in environment:
                return "environment"
            if variable in file:
                return ".env"
            if field in DERIVED and source(DERIVED[field][0]) != "default":
                return DERIVED[field][1]
            return generated if field == "secret_key" and not self.in_production else "default"

        return {f"{PREFIX}{field.upper()}": source(field) for field in type(self).model_fields}

    @property
    def logs_json(self) -> bool:
        """Whether the log is JSON: the setting `log_format`; if that is None, only in production."""
        return self.in_production if self.log_format is None else self.log_format == "json"

    @property
    def migrates_on_start(self) -> bool:
        """Whether `serve` migrates the schema: the setting `migrate_on_start`; if that is None, only in development."""
        return not self.in_production if self.migrate_on_start is None else self.migrate_on_start


def load_settings(**given: Any) -> Settings:
    """Read the settings from the environment and from `.env`, if that file exists, and return them.

    Settings that are given, by field name such as `port=8001`, take precedence. Raise Misconfigured if a setting is not
    valid, with the names of all wrong variables but not their values, if `.env` cannot be read, or if the current
    folder, in which it would be, no longer exists.
    """
    try:
        Path.cwd()
    except OSError:
        raise Misconfigured("the current folder no longer exists: start handover in another one") from None
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise Misconfigured(
            "; ".join(f"{PREFIX}{str(fault['loc'][0]).upper()}: {_what_is_valid(fault['msg'])}" for fault in faults)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the file .env cannot be read: {error}") from None


def _what_is_valid(message: str) -> str:
    """Return pydantic's message about a value as a phrase such as `must be a whole number`."""
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    for pydantics, ours in (
        (", unable to .*", ""),  # as in "unable to parse string as an integer"
        ("Unable to parse input string as an integer.*", "must be a whole number"),
        ("a valid integer", "a whole number"),
        ("a valid number", "a number"),
        ("a valid boolean", "true or false"),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
        ("greater than", "more than"),
    ):
        message = re.sub(pydantics, ours, message)
    return message


def ignored_lines() -> list[str]:
    """Return a sentence for each line of the file `.env` that is ignored, because it is not of the form NAME=value.

    Such a line cannot be parsed, or begins with HANDOVER and has no value or another name than variables have. The list
    is empty if there is no such file. Nothing of the lines is in the sentences, since they may have passwords.
    """
    try:
        with Path(".env").open(encoding="utf-8") as file:
            bindings = [binding for binding in parse_stream(file) if binding.error or _sets_nothing(binding)]
    except (OSError, UnicodeDecodeError):  # load_settings() says what is wrong with the file
        return []
    return [
        f"line {_line_number(binding.original)} of the file .env is ignored, because it is not NAME=value, or has a"
        " quote that is not closed"
        for binding in bindings
    ]


def _sets_nothing(binding: Binding) -> bool:
    """Whether a line of `.env` seems to be meant as a setting, but has no value, or a name with other characters."""
    name = binding.key or ""
    return name.upper().startswith(PREFIX[:-1]) and (binding.value is None or not re.fullmatch(r"\w+", name, re.ASCII))


def _line_number(original: Original) -> int:
    """Return the number of a line of `.env`. The parser counts empty lines before it as a part of it."""
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def unknown_variables() -> list[str]:
    """Return a sentence for each variable `HANDOVER_...` that is not a setting, with the nearest name of one.

    They are looked for in the environment and in the file `.env`. A name that was misspelt would otherwise be ignored.
    Names that variables cannot have are left to ignored_lines(), because they may have been meant as values.
    """
    known = [name.upper() for name in Settings.model_fields]
    given = set(EnvSettingsSource(Settings).env_vars)
    with suppress(OSError, UnicodeDecodeError):  # load_settings() says what is wrong with the file
        given |= set(DotEnvSettingsSource(Settings).env_vars)
    names = {name.upper() for name in given if re.fullmatch(rf"{PREFIX}\w+", name, re.ASCII | re.IGNORECASE)}
    return [
        f"{PREFIX}{name} is not a setting"
        + "".join(f"; did you mean {PREFIX}{near}?" for near in get_close_matches(name, known, 1))
        for name in sorted({name.removeprefix(PREFIX) for name in names} - set(known))
    ]
