"""`atalaia up`: everything in one process, with a short banner for the newcomer."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import trio
from cyclopts import Parameter

from atalaia.config.kernel_cache import choose_cache
from atalaia.config.settings import Credentials, Role, Settings, default_data_dir
from atalaia.model.errors import StartupRefused
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
            demo=demo,
        )
        trio.run(lambda: run(settings, announce=_banner, progress=_progress))
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
    text = os.environ.get("ATALAIA_RETENTION_DAYS")
    if not text:
        return None
    if not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise StartupRefused("ATALAIA_RETENTION_DAYS must be a whole number of days, 1 to 99999.")
    return int(text)


def _progress(what: str) -> None:
    print(f"atalaia: {what}", file=sys.stderr, flush=True)


def _banner(credentials: Credentials, demo: "DemoTenant | None") -> None:
    print(
        f"""
  Atalaia is up at {credentials.base_url}
  API key: {credentials.api_key}

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
