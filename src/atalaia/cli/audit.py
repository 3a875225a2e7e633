"""`atalaia audit`: whether what was written down is still as it was written."""

import re
import sys
from pathlib import Path
from uuid import UUID

from cyclopts import App

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.model.audit import ChainHead
from atalaia.model.errors import AtalaiaError, Invalid

app = App(name="audit", help="Check the record of who did what.")


_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_HASH = re.compile(r"\b[0-9a-f]{64}\b")
_SEQ = re.compile(r"\bseq\W{1,3}(\d+)|\b(\d+) rows\b")


@app.command
def verify(*, heads: Path | None = None, data_dir: DataDir = None) -> int:
    """Find the first row of each tenant's audit that was changed, taken out or moved.

    Prints where each sound chain ends. So does the log, once a day (audit_head): kept elsewhere,
    that tells whether a chain was made anew from the first row on. Exits with 1 when a chain is
    broken, with 2 when it could not look.

    Parameters
    ----------
    heads
        Where chains ended before: lines of the log, or what this command printed. Other lines are
        left out.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.storage.audit import verify_audit

    try:
        kept = [] if heads is None else _kept(heads)
        sound, faults = with_bridge(verify_audit, database_url(data_dir), kept)
    except AtalaiaError as error:
        failed(error)
        return 2
    for head in sound:
        print(f"ok  {head.tenant_id}  {head.seq} rows  {head.hash.hex()}")
    for fault in faults:
        print(f"BROKEN  {fault.tenant_id}  row {fault.seq} {fault.what}", file=sys.stderr)
    there = {head.tenant_id for head in sound} | {fault.tenant_id for fault in faults}
    for tenant_id in sorted({head.tenant_id for head in kept} - there):
        print(f"gone  {tenant_id}  erased, or of another database", file=sys.stderr)
    return 1 if faults else 0


def _kept(path: Path) -> list[ChainHead]:
    """Raises Invalid."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    found = [head for line in lines if (head := _head(line)) is not None]
    if not found:
        raise Invalid(f"{path} has no line that tells where an audit ended.")
    return found


def _head(line: str) -> ChainHead | None:
    if "audit_head" not in line and not line.startswith("ok "):
        return None
    tenant, digest, seq = _ID.search(line), _HASH.search(line), _SEQ.search(line)
    if tenant is None or digest is None or seq is None:
        return None
    return ChainHead(UUID(tenant[0]), int(seq[1] or seq[2]), bytes.fromhex(digest[0]))
