"""Every setting, from `HANDOVER_*` in the environment or a `.env` file, checked once at the start."""

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PERSISTENCE_BY_SCHEME = {
    "sqlite": "sqlalchemy",
    "postgresql": "sqlalchemy",
    "mongodb": "beanie",
    "mongodb+srv": "beanie",
    "memory": "memory",
}


class Misconfigured(Exception):
    """A setting that cannot be worked with. The text is one line that says what to do, without the value."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HANDOVER_", env_file=".env", extra="ignore", frozen=True)

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
    drain_seconds: float = Field(1, ge=0, le=20)
    request_deadline: float = Field(4.5, gt=0, le=60)
    isolation: Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] | None = None
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    metrics_token: SecretStr | None = None
    migrate_on_start: bool | None = None
    log_format: Literal["console", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        scheme, separator, _ = value.partition("://")
        if not separator or scheme not in PERSISTENCE_BY_SCHEME:
            raise ValueError("must start with sqlite:///, postgresql://, mongodb:// or memory://")
        return value

    @property
    def scheme(self) -> str:
        return urlsplit(self.database_url).scheme

    @property
    def adapter(self) -> str:
        """The name of the `handover.persistence` entry point that serves the store."""
        return self.persistence or PERSISTENCE_BY_SCHEME[self.scheme]

    @property
    def refresh_token_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)

    @property
    def in_production(self) -> bool:
        return self.environment == "production"

    @property
    def migrates_on_start(self) -> bool:
        return not self.in_production if self.migrate_on_start is None else self.migrate_on_start


def load_settings() -> Settings:
    """Raise Misconfigured, naming the variables that are wrong and why, but never what was in them."""
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(
            f"HANDOVER_{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise Misconfigured(faults) from None
