"""Readings of one series or many, summed up over buckets or thinned out for a chart.

`GET /v1/sensors/{sensor}/readings?bucket=...` and `POST /v1/query` ask the same questions. Answers
are columns, as bodies of readings may be: what a chart takes, and small.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

import attrs
from quart import Blueprint, Response, g
from werkzeug.datastructures import MultiDict

from atalaia.buckets.grid import Grid, make_grid
from atalaia.buckets.lttb import FEWEST
from atalaia.buckets.table import AGGREGATES, FILLS, Fill, Table
from atalaia.engine.asking import Asked, Asking
from atalaia.http import params, render
from atalaia.http.bodies import QueryBody, read_body
from atalaia.http.errors import encode
from atalaia.model.batch import Floats, Int64s
from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, Micros, TenantNo
from atalaia.model.views import SeriesView
from atalaia.ports import Queries, SeriesFilter
from atalaia.rules.language import parse_selector
from atalaia.rules.syntax import duration_text, parse_duration
from atalaia.wire.times import LATEST_US

MOST_SERIES = 100
MOST_BUCKETS = 10_000  # of one series; a screen has fewer pixels
MOST_POINTS = 200_000  # over all series


Thinned = tuple[Int64s, Floats]
"""Times and values of the readings that stay."""


@attrs.frozen
class Question:
    """What is asked of each series, whatever these are. One of bucket_us and points is set."""

    since: Micros | None
    until: Micros | None
    bucket_us: int | None
    points: int | None
    aggregates: Sequence[str] = ("avg",)
    fill: Fill = "none"
    zone: ZoneInfo | None = None

    @classmethod
    def of(cls, args: MultiDict[str, str]) -> "Question | None":
        """None for readings as they are. Raises Invalid."""
        known = {name: args[name] for name in ("fill", "tz", "bucket", "points") if name in args}
        agg = params.names(args, "agg")
        if not known and not agg:
            return None
        points = None
        if "points" in known:
            points = params.whole(known["points"], "points", FEWEST, MOST_BUCKETS)
        since, until = params.time(args, "from"), params.time(args, "to")
        return _question(since, until, known, agg, points)

    @classmethod
    def of_body(cls, body: QueryBody) -> "Question":
        """Raises Invalid."""
        times = {
            name: value
            for name, value in (("from", body.since), ("to", body.until))
            if value is not None
        }
        known = {
            name: value
            for name, value in (("fill", body.fill), ("tz", body.tz), ("bucket", body.bucket))
            if value is not None
        }
        points = body.points
        if points is not None:
            points = params.whole(str(points), "points", FEWEST, MOST_BUCKETS)
        since, until = params.time(times, "from"), params.time(times, "to")
        return _question(since, until, known, list(dict.fromkeys(body.agg or ())), points)

    def span(self, series: Sequence[SeriesView]) -> tuple[Micros, Micros] | None:
        """Both ends included. None when there is nothing to look at."""
        newest = max((one.newest for one in series if one.newest is not None), default=None)
        if newest is None:
            return None
        # Filled or not: where no reading can be there are no buckets (nor dates, after 9999).
        until = newest if self.until is None else min(self.until, Micros(LATEST_US - 1))
        if self.fill == "none":
            until = min(until, newest)
        since = Micros(until - DAY_US) if self.since is None else self.since
        since = max(since, Micros(0))
        return None if since > until else (since, until)


def _question(
    since: Micros | None,
    until: Micros | None,
    known: Mapping[str, str],
    agg: Sequence[str],
    points: int | None,
) -> Question:
    if since is not None and until is not None and since > until:
        raise params.bad("from", "the range ends before it begins.")
    if "bucket" not in known:
        if points is None:
            raise params.bad("bucket", "say how long a bucket is, such as 5m, or give points.")
        if agg or "fill" in known or "tz" in known:
            raise params.bad("points", "goes without agg, fill and tz: these are of buckets.")
        return Question(since, until, None, points)
    if points is not None:
        raise params.bad("points", "goes without a bucket: it picks from readings as they are.")
    bucket_us = _bucket(known["bucket"])
    for name in agg:
        if name not in AGGREGATES:
            raise params.bad("agg", f"give one or more of {', '.join(AGGREGATES)}.")
    fill = params.choice(known, "fill", FILLS) or "none"
    zone = _zone(known.get("tz"), bucket_us)
    return Question(since, until, bucket_us, None, tuple(agg) or ("avg",), cast("Fill", fill), zone)


def _bucket(text: str) -> int:
    try:
        bucket_us = parse_duration(text)
    except Invalid as error:
        raise params.bad("bucket", error.detail) from error
    if not 1_000 <= bucket_us <= 3_660 * DAY_US:
        raise params.bad("bucket", "a bucket is 1ms to 3660d long.")
    return bucket_us


def _zone(text: str | None, bucket_us: int) -> ZoneInfo | None:
    if text is None or text == "UTC":
        return None
    if text not in available_timezones():
        raise params.bad("tz", "give the name of a time zone, such as America/Sao_Paulo.")
    if bucket_us % DAY_US:
        raise params.bad("tz", "goes with buckets of whole days; shorter ones are in UTC.")
    return ZoneInfo(text)


def blueprint(queries: Queries, asking: Asking) -> Blueprint:
    """`POST /v1/query`."""
    routes = Blueprint("series", __name__)

    @routes.post("/v1/query")
    async def query() -> Response:
        body = await read_body(QueryBody)
        question = Question.of_body(body)
        selector = None if body.selector is None else parse_selector(body.selector)
        wanted = SeriesFilter(_texts(body.sensors), selector, _texts(body.metrics))
        found = await queries.find_series(g.principal.tenant_no, wanted, MOST_SERIES + 1)
        if len(found) > MOST_SERIES:
            raise Invalid(
                f"That is more than {MOST_SERIES} series; name fewer sensors or metrics.",
                code="too_many_series",
            )
        return await answer(asking, g.principal.tenant_no, question, found)

    return routes


def _texts(texts: list[str] | None) -> list[str] | None:
    """What no name holds is not asked for: Postgres has no text with a NUL."""
    return None if texts is None else [text for text in texts if "\0" not in text]


async def answer(
    asking: Asking, tenant_no: TenantNo, question: Question, series: Sequence[SeriesView]
) -> Response:
    """Every series with its columns. Raises Busy, Invalid, StoreUnavailable."""
    with asking.turns.one(tenant_no):
        numbers = [one.series_no for one in series]
        span = question.span(series)
        body: dict[str, Any] = {"bucket": None}
        columns: list[dict[str, Any]]
        if question.bucket_us is not None:
            body["bucket"] = duration_text(question.bucket_us)
            tables: Sequence[Table] = ()
            if span is not None:
                grid = _grid(question, span, len(series))
                asked = Asked(grid, question.aggregates, question.fill)
                tables = await asking.tables(tenant_no, numbers, asked)
            columns = await asking.work(partial(_buckets, question, tables))
        else:
            most = question.points or FEWEST
            _bound(most, len(series))
            points: Sequence[Thinned] = ()
            if span is not None:
                since, until = Micros(span[0] - 1), span[1]
                points = await asking.points(tenant_no, numbers, since, until, most)
            columns = await asking.work(partial(_points, points))
        names = ("value",) if question.bucket_us is None else question.aggregates
        empty: dict[str, list[Any]] = {name: [] for name in ("ts", *names)}
        body["data"] = [
            {"sensor": one.sensor, "metric": one.metric} | (columns[nr] if columns else empty)
            for nr, one in enumerate(series)
        ]
        body["next_cursor"] = None
        text = await asking.work(partial(encode, body))
        return Response(text, content_type="application/json")


def _grid(question: Question, span: tuple[Micros, Micros], count: int) -> Grid:
    grid = make_grid(*span, question.bucket_us or DAY_US, question.zone, MOST_BUCKETS)
    _bound(len(grid.starts), count)
    return grid


def _bound(points: int, series: int) -> None:
    if points * series > MOST_POINTS:
        raise Invalid(
            f"That would be more than {MOST_POINTS:,} points over all series; ask for longer "
            "buckets, fewer points, or fewer series.",
            code="too_many_points",
        )


def _buckets(question: Question, tables: Sequence[Table]) -> list[dict[str, Any]]:
    return [
        {"ts": render.times(table.ts)}
        | {name: _column(name, table.columns[name]) for name in question.aggregates}
        for table in tables
    ]


def _column(name: str, values: Floats) -> list[Any]:
    """NaN and the infinities become null in JSON."""
    numbers: list[Any] = (values.astype("int64") if name == "count" else values).tolist()
    return numbers


def _points(points: Sequence[Thinned]) -> list[dict[str, Any]]:
    return [{"ts": render.times(ts), "value": value.tolist()} for ts, value in points]
