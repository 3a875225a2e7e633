"""`atalaia audit`: whether what was written down is still as it was written."""

import sys

from cyclopts import App

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.model.errors import AtalaiaError

app = App(name="audit", help="Check the record of who did what.")


@app.command
def verify(*, data_dir: DataDir = None) -> int:
    """Find the first row of each tenant's audit that was changed, taken out or moved.

    Prints where each sound chain ends: kept elsewhere, that tells later whether a chain was made
    anew from the first row on. Exits with 1 when a chain is broken, with 2 when it could not look.

    Parameters
    ----------
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.storage.audit import verify_audit

    try:
        sound, faults = with_bridge(verify_audit, database_url(data_dir))
    except AtalaiaError as error:
        failed(error)
        return 2
    for head in sound:
        print(f"ok  {head.tenant_id}  {head.seq} rows  {head.hash.hex()}")
    for fault in faults:
        print(f"BROKEN  {fault.tenant_id}  row {fault.seq} {fault.what}", file=sys.stderr)
    return 1 if faults else 0
