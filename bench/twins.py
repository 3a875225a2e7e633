"""Two copies of one data directory: one run is left in peace, the other disturbed, and what they
stored must not differ. Copies share tenants, sensors and rules, so even the ids are the same.
"""

import os
import shutil
from pathlib import Path

ALERTS = (
    "SELECT alert_id, rule_no, rule_version, sensor_id, severity, state, opened_at, opened_value,"
    " evidence, cleared_at, cleared_value, clear_reason,"
    " (SELECT jsonb_agg(jsonb_build_array(kind, at, e.severity, value) ORDER BY arrival, ordinal)"
    "  FROM alert_events e WHERE e.tenant_id = a.tenant_id AND e.alert_id = a.alert_id),"
    " (SELECT md5(concat_ws(' ', record, samples, late)) FROM alert_evidence e"
    "  WHERE e.tenant_id = a.tenant_id AND e.alert_id = a.alert_id)"
    " FROM alerts a ORDER BY opened_at, alert_id"
)
"""Every column of every alert but those of arrival, which is each run's own."""


def copy_directory(base: Path, target: Path) -> None:
    """A stopped server's data directory, owners kept: the cluster belongs to Postgres' account."""
    shutil.copytree(base, target, symlinks=True, copy_function=_copy_owned)
    for root, folders, _ in os.walk(base):  # copytree keeps modes, not owners
        for folder in ("", *folders):
            source = Path(root, folder)
            kept = source.stat()
            os.chown(target / source.relative_to(base), kept.st_uid, kept.st_gid)


def _copy_owned(source: str, target: str) -> str:
    shutil.copy2(source, target)
    kept = os.stat(source)
    os.chown(target, kept.st_uid, kept.st_gid)
    return target
