"""Views as JSON: times in RFC 3339 UTC with µs, ids as text, names as their owners know them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import attrs
import numpy as np
from quart import g, request

from atalaia.engine.messages import Outlook
from atalaia.http import params
from atalaia.http.rule_checks import CheckedRule
from atalaia.http.sparkline import sparkline
from atalaia.model.alert import Comparison
from atalaia.model.batch import Int64s
from atalaia.model.ids import Micros
from atalaia.model.rule import StoredRule
from atalaia.model.views import (
    AlertStep,
    AlertView,
    OpeningView,
    Point,
    Profile,
    SensorView,
    SettingsView,
)
from atalaia.rules.lints import Lint
from atalaia.rules.syntax import duration_text

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time(at: Micros | None) -> str | None:
    """`2026-01-31T12:00:00.000000Z`: one width, so that text order is time order."""
    if at is None:
        return None
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def times(at: Int64s) -> list[str]:
    """Many times at once, as `time` writes each."""
    return [f"{text}Z" for text in np.datetime_as_string(at.astype("datetime64[us]"), "us")]


def page(data: Sequence[Any], cursor: str | None, total: int | None = None) -> dict[str, Any]:
    """A page of a list. The answer's Link header will name the next one. total: of all pages."""
    return {"data": data} | pages(cursor, total)


def pages(cursor: str | None, total: int | None = None) -> dict[str, Any]:
    """What a page says of the others."""
    g.next_cursor = cursor
    said: dict[str, Any] = {"next_cursor": cursor}
    return said if total is None else said | {"total": total}


def first(
    found: Sequence[T],
    count: int,
    show: Callable[[T], Any],
    place: Callable[[T], Any],
    total: int | None = None,
) -> dict[str, Any]:
    """A page of what was asked for with one more than `count`. place: what a cursor says of one."""
    more = params.next_cursor(place(found[count - 1])) if len(found) > count else None
    return page([show(one) for one in found[:count]], more, total)


def whole(data: Sequence[Any]) -> dict[str, Any]:
    """A list that is one page."""
    return page(data, None, len(data) if params.flag(request.args, "count") else None)


async def total(count: Callable[[], Awaitable[int]]) -> int | None:
    """How many there are, for whoever asks (`?count=true`)."""
    return await count() if params.flag(request.args, "count") else None


def link() -> str | None:
    """The next page as a Link header has it, after `page` (RFC 8288)."""
    cursor = g.get("next_cursor")
    if cursor is None:
        return None
    pairs = [(name, text) for name, text in request.args.items(multi=True) if name != "cursor"]
    target = f"{quote(request.path)}?{urlencode([*pairs, ('cursor', cursor)])}"
    return f'<{target}>; rel="next"'


def sensor(view: SensorView, now: Micros) -> dict[str, Any]:
    known = view.details
    return {
        "id": str(view.sensor_id),
        "name": view.name,
        "tags": view.tags,
        "registered_at": time(view.registered_at),
        "last_seen": time(view.last_seen),
        "status": view.status(now),
        "metrics": list(view.metrics),
        "lateness": None if view.lateness_us is None else duration_text(view.lateness_us),
        "expected_interval": None if view.pace_us is None else duration_text(view.pace_us),
        "place": known.place,
        "location": known.location and attrs.asdict(known.location),
    }


def profile(view: Profile) -> dict[str, Any]:
    return {
        "name": view.name,
        "description": view.description,
        "expected_interval": None if view.expected_us is None else duration_text(view.expected_us),
        "rules": view.rules,
        "created_at": time(view.created_at),
        "updated_at": time(view.updated_at),
    }


def settings(view: SettingsView) -> dict[str, Any]:
    return {"lateness": duration_text(view.lateness_us)}


def point(reading: Point) -> dict[str, Any]:
    return {
        "ts": time(reading.ts),
        "value": reading.value,
        "received_at": time(reading.received_at),
        "late": reading.late,
    }


def rule(stored: StoredRule) -> dict[str, Any]:
    return {
        "id": str(stored.rule_id),
        "name": stored.name,
        "text": stored.text,
        "version": stored.version,
        "revision": stored.revision,
        "enabled": stored.enabled,
        "active_from": time(stored.active_from),
        "created_at": time(stored.created_at),
        "updated_at": time(stored.updated_at),
    }


def lint(found: Lint) -> dict[str, Any]:
    return {
        "code": found.code,
        "message": found.message,
        "line": found.line,
        "column": found.column,
    }


def checked_rule(found: CheckedRule, interval: str) -> dict[str, Any]:
    """interval: at which its cost was estimated."""
    return {
        "name": found.spec.name,
        "lints": [lint(one) for one in found.lints],
        "cost": {
            "interval": interval,
            "windows": found.cost.windows,
            "new_windows": found.cost.new_windows,
            "bytes_per_sensor": found.cost.bytes_per_sensor,
            "bytes": found.cost.bytes_per_sensor * found.matches,
            "ns_per_reading": found.cost.ns_per_reading,
        },
        "matches": found.matches,
    }


def outlook(found: Outlook) -> dict[str, Any]:
    """What rules would do to the tenant as a whole."""
    return {
        "memory": {
            "bytes_now": found.now_bytes,
            "bytes_then": found.with_bytes,
            "limit": found.limit_bytes,
        },
        "refusals": [{"code": one.code, "detail": one.detail} for one in found.refusals],
    }


def alert(view: AlertView) -> dict[str, Any]:
    return {
        "id": str(view.alert_id),
        "rule": {"id": str(view.rule_id), "name": view.rule, "version": view.rule_version},
        "sensor": view.sensor,
        "severity": view.severity,
        "state": view.state,
        "opened_at": time(view.opened_at),
        "opened_arrival": time(view.opened_arrival),
        "opened_value": view.opened_value,
        "cleared_at": time(view.cleared_at),
        "cleared_arrival": time(view.cleared_arrival),
        "cleared_value": view.cleared_value,
        "clear_reason": view.clear_reason,
        "evidence": view.evidence,
    }


def opening(view: OpeningView, alert: AlertView) -> dict[str, Any]:
    """All that an alert was opened on. Its picture stands beside it, drawn from the same."""
    told, at = view.opening, alert.opened_at
    return {
        "rule": {"version": alert.rule_version, "text": told.text},
        "aggregates": [
            {
                "expression": one.expression,
                "metric": one.metric,
                "window": duration_text(one.window_us),
                "value": one.value,
            }
            for one in told.weighed
        ],
        "comparisons": [comparison(one) for one in told.comparisons],
        "samples": [
            {
                "metric": one.metric,
                "window": duration_text(one.window_us),
                "from": time(Micros(at - one.window_us)),
                "to": time(at),
                "count": one.count,
                "late": late,
                "points": [[time(Micros(ts)), value] for ts, value in one.pairs()],
            }
            for one, late in zip(told.samples, view.late, strict=True)
        ],
        "late": sum(view.late),
        "silence": told.silence
        and {
            "since": time(told.silence.since),
            "deadline": time(told.silence.deadline),
            "clock": "arrival",
        },
        "sparkline": sparkline(told, at),
    }


def comparison(told: Comparison) -> dict[str, Any]:
    return attrs.asdict(told)


def step(view: AlertStep) -> dict[str, Any]:
    return {
        "kind": view.kind,
        "at": time(view.at),
        "arrival": time(view.arrival),
        "severity": view.severity,
        "value": view.value,
    }
