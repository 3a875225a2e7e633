"""`atalaia tenants`: all of a tenant in one file, or nothing of it anywhere; straight in the
database, for whoever holds its own credentials.
"""

import os
import sys
from pathlib import Path

from cyclopts import App

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.cli.files import refused
from atalaia.cli.ids import tenant_id
from atalaia.model.erasure import ErasureView
from atalaia.model.errors import AtalaiaError

app = App(name="tenants", help="Take all of a tenant with you, or erase it.")


@app.command
def export(tenant: str, file: Path, /, *, data_dir: DataDir = None) -> int:
    """Write everything of a tenant into one ZIP archive.

    As it is at one moment, while a server goes on; it needs no more memory for a large tenant. The
    file is readable by its owner alone, and there only when it is whole.

    Parameters
    ----------
    tenant
        The tenant's id.
    file
        Where to.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.engine.clock import SystemClock
    from atalaia.storage.archive_file import save_archive

    part = file.with_name(f"{file.name}.part")
    try:
        whose, url = tenant_id(tenant), database_url(data_dir)
        try:
            part.unlink(missing_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as target:
                with_bridge(save_archive, url, whose, target, SystemClock().now_us())
            part.replace(file)
        except OSError as error:
            raise refused(file, error) from error
        finally:
            part.unlink(missing_ok=True)
    except AtalaiaError as error:
        return failed(error)
    print(f"{file}: {file.stat().st_size:,} bytes")
    return 0


@app.command
def erase(tenant: str, /, *, name: str, data_dir: DataDir = None) -> int:
    """Delete everything of a suspended tenant, for good.

    Prints what was deleted. It may be stopped, and started again: it goes on from where it was, as
    a running server does by itself.

    Parameters
    ----------
    tenant
        The tenant's id.
    name
        Its name, just as it is.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.storage.erasure import erase

    def progress(view: ErasureView) -> None:
        if sys.stderr.isatty():
            print(f"\r{view.rows:,} rows deleted", end="", file=sys.stderr, flush=True)

    try:
        whose, url = tenant_id(tenant), database_url(data_dir)
        done = with_bridge(erase, url, whose, name, progress)
    except AtalaiaError as error:
        return failed(error)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for table, rows in sorted(done.deleted.items()):
        print(f"{table}: {rows:,}")
    print(f"tenant {tenant} is erased")
    return 0
