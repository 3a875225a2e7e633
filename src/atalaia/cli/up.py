"""`atalaia up`: everything in one process, with a short banner for the newcomer."""

import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import trio
from cyclopts import Parameter

from atalaia.config.kernel_cache import choose_cache
from atalaia.config.mail import parse_mail
from atalaia.config.settings import (
    CREDENTIALS,
    Credentials,
    JwtSettings,
    ProxySettings,
    RateSettings,
    Role,
    Settings,
    default_data_dir,
    parse_lifetime,
)
from atalaia.model.errors import StartupRefused
from atalaia.model.quota import MAX_RULES, Quota
from atalaia.ports import Fenced

if TYPE_CHECKING:
    from atalaia.demo import DemoTenant


def up(
    *,
    demo: bool = False,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(env_var="PORT")] = 3000,
    data_dir: Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")] = None,
    role: Role = "all",
    log: Annotated[Literal["console", "json"], Parameter(env_var="ATALAIA_LOG")] = "console",
) -> int:
    """Start everything and serve until Ctrl-C.

    Without DATABASE_URL an embedded Postgres keeps the data in the data directory.

    Parameters
    ----------
    demo
        Add a demo tenant with rules and simulated sensors.
    host
        Address to listen on; 0.0.0.0 is every one of this machine.
    port
        Port to listen on; 0 takes any free one.
    data_dir
        Where data and credentials.json live. Default: /var/lib/atalaia for root,
        ~/.local/share/atalaia for others.
    role
        Which part of the service this process is: all; http takes readings and puts them into
        RabbitMQ; engine takes them out, judges and stores. With RABBITMQ_URL all does so too.
    log
        How log lines look on stderr.
    """
    choose_cache(data_dir or default_data_dir())
    from atalaia.app import run
    from atalaia.telemetry.logging import configure_logging

    configure_logging(log)
    try:
        settings = Settings(
            host=host,
            port=port,
            data_dir=data_dir or default_data_dir(),
            role=role,
            database_url=os.environ.get("DATABASE_URL") or None,
            rabbitmq_url=os.environ.get("RABBITMQ_URL") or None,
            retention_days=_retention(),
            rollup_days=_whole("ATALAIA_ROLLUP_DAYS", "days", 99_999),
            tenant_memory_bytes=_tenant_memory(),
            quota=_quota(),
            jwt=_jwt(),
            mail=parse_mail(os.environ),
            demo=demo,
            origins=_origins(),
            rates=_rates(),
            proxies=_proxies(),
            metrics_token=_metrics_token(),
        )
        trio.run(
            lambda: run(settings, announce=partial(_banner, settings.data_dir), progress=_progress)
        )
    except StartupRefused as refused:
        print(f"atalaia: {refused.detail}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BaseExceptionGroup) as stop:
        if isinstance(stop, BaseExceptionGroup) and stop.split(Fenced)[1] is None:
            print(
                "atalaia: another process serves this database now, so this one has ended. "
                "Run one of them.",
                file=sys.stderr,
            )
            return 1
        if isinstance(stop, BaseExceptionGroup) and stop.split(KeyboardInterrupt)[1] is not None:
            raise
        print("atalaia: stopped at once", file=sys.stderr)
        return 130
    return 0


def _retention() -> int | None:
    return _whole("ATALAIA_RETENTION_DAYS", "days", 99_999)


def _origins() -> tuple[str, ...]:
    found = tuple(os.environ.get("ATALAIA_CORS_ORIGINS", "").replace(",", " ").split())
    for origin in found:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise StartupRefused(
                f'ATALAIA_CORS_ORIGINS: "{origin}" is no origin; give what browsers send, such as '
                "https://app.example.com, without a path and never *; several with commas."
            )
    return found


def _metrics_token() -> str | None:
    token = os.environ.get("ATALAIA_METRICS_TOKEN") or None
    if token is not None and not re.fullmatch("[!-~]{16,}", token):
        raise StartupRefused(
            "ATALAIA_METRICS_TOKEN: 16 printable characters or more, no spaces. Make one: "
            "openssl rand -hex 32"
        )
    return token


def _rates() -> RateSettings:
    given, most = RateSettings(), 999_999_999
    window_ms = _whole("RATE_LIMIT_WINDOW_MS", "milliseconds", 86_400_000)
    unit = "requests in RATE_LIMIT_WINDOW_MS"
    return RateSettings(
        window_s=given.window_s if window_ms is None else window_ms / 1_000,
        per_address=_whole("RATE_LIMIT_MAX_REQUESTS", unit, most) or given.per_address,
        per_key=_whole("ATALAIA_RATE_LIMIT_KEY", unit, most) or given.per_key,
        per_account=_whole("ATALAIA_RATE_LIMIT_ACCOUNT", unit, most) or given.per_account,
        per_tenant=_whole("ATALAIA_RATE_LIMIT_TENANT", unit, most) or given.per_tenant,
    )


def _proxies() -> ProxySettings:
    url = os.environ.get("ATALAIA_PUBLIC_URL") or None
    if url is not None and not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?/?", url):
        raise StartupRefused(
            "ATALAIA_PUBLIC_URL must be what clients call, such as https://api.example.com, "
            "without a path."
        )
    hops = os.environ.get("ATALAIA_TRUSTED_PROXY_HOPS") or "0"
    if not re.fullmatch("[0-9]", hops):
        raise StartupRefused(
            "ATALAIA_TRUSTED_PROXY_HOPS must be how many proxies of yours are in front, 0 to 9."
        )
    return ProxySettings(int(hops), url)


def _jwt() -> JwtSettings:
    """JWT_SECRET is one; ATALAIA_JWT_SECRETS several, with commas, the one that signs first."""
    several = os.environ.get("ATALAIA_JWT_SECRETS") or os.environ.get("JWT_SECRET") or ""
    given = JwtSettings(tuple(filter(None, map(str.strip, several.split(",")))))
    access, refresh = os.environ.get("JWT_EXPIRES_IN"), os.environ.get("JWT_REFRESH_EXPIRES_IN")
    return attrs.evolve(
        given,
        access_s=parse_lifetime("JWT_EXPIRES_IN", access) if access else given.access_s,
        refresh_s=(
            parse_lifetime("JWT_REFRESH_EXPIRES_IN", refresh) if refresh else given.refresh_s
        ),
    )


def _quota() -> Quota:
    return Quota(
        readings_per_s=_whole("ATALAIA_QUOTA_READINGS", "readings a second", 999_999_999),
        bytes_per_s=_whole("ATALAIA_QUOTA_BYTES", "bytes a second", 999_999_999_999),
        max_rules=_whole("ATALAIA_QUOTA_RULES", "rules", MAX_RULES),
        key_readings_per_s=_whole("ATALAIA_QUOTA_KEY_READINGS", "readings a second", 999_999_999),
    )


def _whole(name: str, unit: str, most: int) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if not re.fullmatch("[1-9][0-9]{0,11}", text) or int(text) > most:
        raise StartupRefused(f"{name} must be a whole number of {unit}, 1 to {most}.")
    return int(text)


def _tenant_memory() -> int | None:
    text = os.environ.get("ATALAIA_TENANT_MEMORY")
    if not text:
        return None
    match = re.fullmatch("([1-9][0-9]{0,5}) ?(MiB|GiB)", text)
    if match is None:
        raise StartupRefused("ATALAIA_TENANT_MEMORY must be a size such as 256MiB or 2GiB.")
    return int(match[1]) << (20 if match[2] == "MiB" else 30)


def _progress(what: str) -> None:
    print(f"atalaia: {what}", file=sys.stderr, flush=True)


def _banner(data_dir: Path, credentials: Credentials, demo: "DemoTenant | None") -> None:
    print(
        f"""
  Atalaia is up at {credentials.base_url}
  API key: {credentials.api_key}
  The API as a page where requests can be tried: {credentials.base_url}/docs
  The administrator's e-mail and password: {data_dir / CREDENTIALS}

  Send a first reading (paste as it is):

    curl -sS {credentials.base_url}/v1/readings -H 'X-API-Key: {credentials.api_key}' \\
      -d '{{"sensor": "hello", "metric": "temperature", "ts": '$(date +%s000)', "value": 71.5}}'
{"" if demo is None else _demo_lines(credentials, demo)}
  Ctrl-C stops it; nothing that was answered is lost.
""",
        flush=True,
    )


def _demo_lines(credentials: Credentials, demo: "DemoTenant") -> str:
    return f"""
  The demo's simulated sensors send once a second. Its key: {demo.api_key}
  Its alerts, as they open and clear (the first within seconds):

    curl -sS '{credentials.base_url}/v1/alerts?limit=5' -H 'X-API-Key: {demo.api_key}'
"""
