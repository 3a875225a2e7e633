"""`atalaia quotas`: how much tenants and keys may send, straight in the database."""

from pathlib import Path
from typing import Literal
from uuid import UUID

from cyclopts import App
from rich.table import Table

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.cli.tables import table_console
from atalaia.config.settings import default_data_dir, load_credentials
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.model.quota import MAX_RULES

Number = int | Literal["default"]

_MOST = {
    "readings": 2**31 - 1,
    "bytes": 2**63 - 1,
    "waiting": 2**63 - 1,
    "series": 2**31 - 1,
    "rules": MAX_RULES,
}

_LEAST = {"rules": 0, "series": 0, "waiting": 8 * 1024 * 1024}  # a body must find room

app = App(name="quotas", help="Show and set how much tenants and keys may send.")


@app.command
def show(*, data_dir: DataDir = None) -> int:
    """Show the quotas of every tenant and key.

    Parameters
    ----------
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.storage.quotas import list_quotas

    try:
        tenants, keys = with_bridge(list_quotas, database_url(data_dir))
    except AtalaiaError as error:
        return failed(error)
    console = table_console()
    table = _table("tenant", "name", "readings/s", "bytes/s", "waiting bytes", "series", "rules")
    for row in tenants:
        table.add_row(
            str(row["tenant_uuid"]),
            row["name"],
            _shown(row["readings_per_s"]),
            _shown(row["bytes_per_s"]),
            _shown(row["waiting_bytes"]),
            f"{row['series']:,} of {row['max_series']:,}",
            f"{row['rules']:,} of {_shown(row['max_rules'])}",
        )
    console.print(table)
    table = _table("key", "of tenant", "name", "readings/s", "bytes/s")
    for row in keys:
        table.add_row(
            row["key_id"],
            str(row["tenant_uuid"]),
            row["name"],
            _shown(row["readings_per_s"]),
            _shown(row["bytes_per_s"]),
        )
    console.print()
    console.print(table)
    return 0


@app.command(name="set")
def set_(
    *,
    tenant: UUID | None = None,
    of_key: str | None = None,
    readings: Number | None = None,
    bytes: Number | None = None,  # noqa: A002 - the option's name
    waiting: Number | None = None,
    series: Number | None = None,
    rules: Number | None = None,
    data_dir: DataDir = None,
) -> int:
    """Set quotas of a tenant or of one key; a running server follows within ten seconds.

    Parameters
    ----------
    tenant
        Whose. Default: the tenant of credentials.json.
    of_key
        The id of a key (what follows atl_ in it): its --readings and --bytes are limited, not the
        tenant's.
    readings
        Readings a second; the word default: as the server's settings say.
    bytes
        Bytes a second, as inflated, or default.
    waiting
        Bytes of bodies that are not answered yet, 8388608 or more, or default.
    series
        Series in all, or default.
    rules
        Rules in all, up to 1000, or default.
    data_dir
        Where credentials.json is.
    """
    from atalaia.storage.quotas import set_key_quota, set_quotas

    given = {
        "readings": readings,
        "bytes": bytes,
        "waiting": waiting,
        "series": series,
        "rules": rules,
    }
    try:
        values = {
            name: None if value == "default" else _checked(name, value)
            for name, value in given.items()
            if value is not None
        }
        if of_key is None:
            if not values:
                raise Invalid("Say what to set, such as --readings, --bytes or --series.")
            whose = tenant or UUID(_credentials_tenant(data_dir))
            with_bridge(set_quotas, database_url(data_dir), whose, values)
        else:
            if tenant is not None or not values or set(values) - {"readings", "bytes"}:
                raise Invalid("A key has --readings and --bytes alone, and a tenant of its own.")
            with_bridge(set_key_quota, database_url(data_dir), of_key, values)
    except AtalaiaError as error:
        return failed(error)
    return 0


def _checked(name: str, value: int) -> int:
    least = _LEAST.get(name, 1)
    if not least <= value <= _MOST[name]:
        raise Invalid(f"--{name} is a number from {least} to {_MOST[name]}, or default.")
    return value


def _credentials_tenant(data_dir: Path | None) -> str:
    known = load_credentials(data_dir or default_data_dir())
    if known is None:
        raise Invalid("Say whose quotas to set: --tenant.")
    return known.tenant_id


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _shown(value: int | None) -> str:
    return "default" if value is None else f"{value:,}"
