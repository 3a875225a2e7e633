"""What of each table goes into a tenant's archive, and why the rest does not.

A test compares this with the catalogue, column by column: whoever adds a table or a column says
here what becomes of it. No secret and no hash of one is taken, nor any number that only we use.
"""

from collections.abc import Mapping

import attrs

_INNER = "a number of ours, which means nothing outside"
_DERIVED = "follows from what is in the archive"


@attrs.frozen
class ArchivedTable:
    """file: without its ending. columns: what is selected, `t` being the table. left_out: columns
    that are not in it as they are, with the reason. at_once: rows that may be in memory together.
    """

    table: str
    file: str
    columns: str
    order: str
    joins: str = ""
    left_out: Mapping[str, str] = attrs.field(factory=dict)
    at_once: int = 1_000

    @property
    def query(self) -> str:
        """Its lines, as JSON."""
        return (
            f"SELECT row_to_json(line)::text FROM (SELECT {self.columns}"  # noqa: S608 - ours
            f" FROM {self.table} t {self.joins} ORDER BY {self.order}) line"
        )


_OF_SENSOR = "JOIN sensors s USING (tenant_id, sensor_id)"
_OF_RULE = "JOIN rules r USING (tenant_id, rule_no)"

TABLES = (
    ArchivedTable(
        "tenants", "tenant",
        "tenant_uuid AS id, name, created_at, suspended_at, lateness_us, retention_days,"
        " max_series, max_rules, readings_per_s, bytes_per_s, waiting_bytes",
        "tenant_id",
        left_out={"erasing_at": "whoever is being erased has no archive any more"},
    ),
    ArchivedTable(
        "users", "users",
        "user_id AS id, email, role, platform, password_hash IS NOT NULL AS has_password,"
        " created_at, disabled_at, last_login_at",
        "user_id",
        left_out={"password_hash": "a secret's hash", "token_version": _INNER},
    ),
    ArchivedTable(
        "sessions", "sessions",
        "session_id AS id, user_id, began_at, ends_at, revoked_at",
        "session_id",
    ),
    ArchivedTable(
        "api_keys", "api-keys",
        "key_id AS id, name, scopes, created_at, expires_at, revoked_at, last_used_at,"
        " replaced_at, readings_per_s, bytes_per_s",
        "key_id",
        left_out={"hash": "a secret's hash"},
    ),
    ArchivedTable(
        "sensors", "sensors",
        "sensor_uuid AS id, name, tags, registered_at, deleted_at, latitude, longitude, place,"
        " expected_us, lateness_us",
        "sensor_id",
        left_out={"sensor_id": _INNER},
    ),
    ArchivedTable(
        "series", "series",
        "s.sensor_uuid AS sensor_id, s.name AS sensor, t.metric",
        "series_id",
        _OF_SENSOR,
        left_out={"series_id": _INNER, "sensor_id": _INNER},
    ),
    ArchivedTable(
        "profiles", "profiles",
        "name, description, expected_us, rules, created_at, updated_at",
        "name",
    ),
    ArchivedTable("metrics", "metrics", "metric, unit", "metric"),
    ArchivedTable(
        "rules", "rules",
        "rule_id AS id, name, text, version, revision, enabled, active_from, created_at,"
        " updated_at, deleted_at",
        "rule_no",
        left_out={"rule_no": _INNER, "waits": "follows from the text"},
    ),
    ArchivedTable(
        "rule_versions", "rule-versions",
        "r.rule_id, t.version, t.text, t.active_from",
        "t.rule_no, t.version",
        _OF_RULE,
        left_out={"rule_no": _INNER},
    ),
    ArchivedTable(
        "alerts", "alerts",
        "alert_id AS id, r.rule_id, t.rule_version, s.sensor_uuid AS sensor_id, t.severity,"
        " t.state, t.opened_at, t.opened_arrival, t.opened_value, t.evidence, t.cleared_at,"
        " t.cleared_arrival, t.cleared_value, t.clear_reason",
        "t.alert_id",
        f"{_OF_RULE} {_OF_SENSOR}",
        left_out={"rule_no": _INNER, "sensor_id": _INNER},
    ),
    ArchivedTable(
        "alert_events", "alert-steps",
        "alert_id, arrival, ordinal, kind, at, severity, value",
        "alert_id, arrival, ordinal",
    ),
    ArchivedTable(
        "alert_evidence", "alert-evidence",
        "alert_id, record, encode(samples, 'base64') AS samples, late",
        "alert_id",
        at_once=100,
    ),
    ArchivedTable(
        "audit", "audit",
        "seq, at, actor, actor_name, action, target, detail, encode(hash, 'hex') AS hash",
        "seq",
    ),
    ArchivedTable(
        "outbox_mails", "mails",
        "mail_id AS id, kind, recipient, created_at, tries, outcome, ended_at, last_error",
        "mail_id",
        left_out={
            "params": "it holds a link, which is a secret",
            "next_try_at": "when it is tried again, which says nothing of anybody",
        },
    ),
    ArchivedTable(
        "dead_letters", "dead-letters",
        "buried_at, reason, rows, encode(payload, 'base64') AS payload",
        "letter_id",
        left_out={"letter_id": _INNER},
        at_once=2,  # each may hold a body of 8 MiB
    ),
)  # fmt: skip

IN_A_WAY_OF_THEIR_OWN = {
    "readings": "readings/YYYY-MM.ndjson",
    "rollups": "rollups.ndjson, from when there are no readings any more",
}

LEFT_OUT = {
    "tenant_state": f"the state of the rules as the engine keeps it: {_DERIVED}",
    "arrivals": f"of the last minutes, which readings came with which commit: {_DERIVED}",
    "rollup_marks": "how far a task of the service has come",
    "rollup_notes": "what a task of the service has yet to do",
    "refresh_tokens": "hashes of secrets; the sessions that they belong to are in it",
    "user_links": "hashes of secrets; that a link was made is in the audit",
    "tickets": "hashes of secrets that hold for half a minute",
    "idempotency_keys": "answers of the last day, sealed for the secrets in some; what was made "
    "is in the archive",
    "audit_heads": "the last row of the audit says the same",
}
