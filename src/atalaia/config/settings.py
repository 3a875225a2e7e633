"""What one process is told, and the credentials file that it writes on its first start."""

import os
import re
import secrets
from pathlib import Path
from typing import Literal

import attrs
import msgspec

from atalaia.config.mail import MailSettings
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import DAY_US
from atalaia.model.quota import NO_QUOTA, Quota

CREDENTIALS = "credentials.json"
JWT_SECRET = "jwt-secret"  # noqa: S105 - a file's name
Role = Literal["all", "http", "engine"]


@attrs.frozen
class JwtSettings:
    """secrets: of access tokens, the first signs; none: one that is made and kept in the data
    directory. access_s, refresh_s: how long a token holds, and a session without signing in again.
    """

    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    access_s: int = 900
    refresh_s: int = 7 * 86_400

    def __attrs_post_init__(self) -> None:
        if not 0 < self.access_s < self.refresh_s:
            raise StartupRefused(
                "JWT_REFRESH_EXPIRES_IN must be longer than JWT_EXPIRES_IN, which it renews."
            )


@attrs.frozen
class RateSettings:
    """How many requests may come in `window_s`, which may all come at once: of an address without a
    valid credential, a key, a person, and all of a tenant's. Readings are counted by quotas.
    """

    window_s: float = 60.0
    per_address: int = 100
    per_key: int = 6_000
    per_account: int = 600
    per_tenant: int = 12_000


@attrs.frozen
class ProxySettings:
    """hops: proxies of ours in front, each of which adds to X-Forwarded-For; none: the peer is the
    client. public_url: under which clients find the service, such as `https://api.example.com`.
    """

    hops: int = 0
    public_url: str | None = None


@attrs.frozen
class Settings:
    """All of it. database_url None means the embedded Postgres in data_dir.

    tenant_memory_bytes: of one tenant's windows and states; None: the engine's default.
    Raises StartupRefused for what cannot be together.
    """

    host: str
    port: int
    data_dir: Path
    role: Role = "all"
    database_url: str | None = attrs.field(default=None, repr=False)
    rabbitmq_url: str | None = attrs.field(default=None, repr=False)
    retention_days: int | None = None
    rollup_days: int | None = None
    tenant_memory_bytes: int | None = None
    demo: bool = False
    origins: tuple[str, ...] = ()
    """Whose pages may call from browsers."""
    quota: Quota = NO_QUOTA
    """Of tenants and keys without one of their own."""
    jwt: JwtSettings = JwtSettings()
    rates: RateSettings = RateSettings()
    proxies: ProxySettings = ProxySettings()
    mail: MailSettings | None = None
    """None: mails wait in the outbox."""
    metrics_token: str | None = attrs.field(default=None, repr=False)
    """What `/metrics` asks for; None: nothing."""

    def __attrs_post_init__(self) -> None:
        if self.role != "all" and self.rabbitmq_url is None:
            raise StartupRefused(
                f"--role {self.role} works through RabbitMQ: set RABBITMQ_URL, such as "
                "amqp://user:password@host/vhost. One process alone is --role all."
            )
        if self.role == "http" and self.database_url is None:
            raise StartupRefused(
                "--role http needs the engine's database: set DATABASE_URL. "
                "The engine's credentials.json holds it as database_url."
            )
        if self.role == "http" and self.demo:
            raise StartupRefused("--demo needs an engine: start it with --role all or engine.")
        if self.rollup_days is not None and self.rollup_days < (self.retention_days or 1 << 30):
            raise StartupRefused(
                "ATALAIA_ROLLUP_DAYS may not be shorter than ATALAIA_RETENTION_DAYS, which must be "
                "set beside it: rollups outlive the readings."
            )

    @property
    def rollup_us(self) -> int | None:
        """How long rollups are kept; None: for ever."""
        return self.rollup_days and self.rollup_days * DAY_US


def parse_lifetime(name: str, text: str) -> int:
    """Seconds: `900`, `15m`, `12h` or `7d`. Raises StartupRefused."""
    match = re.fullmatch("([1-9][0-9]{0,7})([smhd]?)", text)
    if match is None:
        raise StartupRefused(f"{name} must be a time such as 15m, 12h, 7d or 900 (seconds).")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]


def keep_jwt_secret(data_dir: Path) -> str:
    """The secret of this data directory, mode 0600; made on the first start.

    Raises StartupRefused when it can be neither read nor written.
    """
    target = data_dir / JWT_SECRET
    scratch = target.with_suffix(".tmp")
    try:
        if target.exists():
            return target.read_text().strip()
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            os.fsync(file.fileno())
        scratch.replace(target)
        return target.read_text().strip()
    except OSError as error:
        raise StartupRefused(f"{target} cannot be read or written: {error.strerror}.") from error


@attrs.frozen
class Credentials:
    """How to reach a fresh installation. The file is readable by its owner alone."""

    base_url: str
    tenant_id: str
    admin_email: str
    admin_password: str = attrs.field(repr=False)
    api_key: str = attrs.field(repr=False)
    database_url: str = attrs.field(repr=False)


def default_data_dir() -> Path:
    """`/var/lib/atalaia` for root (a home of mode 0700 hides it from Postgres' user)."""
    if os.geteuid() == 0:
        return Path("/var/lib/atalaia")
    return Path.home() / ".local" / "share" / "atalaia"


def save_credentials(data_dir: Path, credentials: Credentials) -> None:
    """Written whole or not at all, mode 0600; those of another tenant are set aside before.

    Raises StartupRefused when it cannot be.
    """
    target = data_dir / CREDENTIALS
    scratch = target.with_suffix(".tmp")
    before = load_credentials(data_dir)
    if before == credentials:
        return
    try:
        if before is not None and before.tenant_id != credentials.tenant_id:
            target.replace(data_dir / f"credentials-{before.tenant_id}.json")
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            body = msgspec.json.encode(attrs.asdict(credentials))
            file.write(msgspec.json.format(body, indent=2) + b"\n")
            os.fsync(file.fileno())
        scratch.replace(target)
    except OSError as error:
        raise StartupRefused(f"{target} cannot be written: {error.strerror}.") from error


def load_credentials(data_dir: Path) -> Credentials | None:
    """None when there are none. Raises StartupRefused for a file that cannot be read."""
    return _load(data_dir / CREDENTIALS)


def load_all_credentials(data_dir: Path) -> list[Credentials]:
    """The current ones first, then those that were set aside for another database."""
    paths = [data_dir / CREDENTIALS, *sorted(data_dir.glob("credentials-*.json"))]
    return [found for path in paths if (found := _load(path)) is not None]


def _load(path: Path) -> Credentials | None:
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return Credentials(**raw)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupRefused(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.MsgspecError, TypeError) as error:
        raise StartupRefused(
            f"{path} is damaged ({error}). Restore it, or move it away."
        ) from error
