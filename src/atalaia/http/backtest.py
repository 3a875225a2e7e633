"""POST /v1/rules/backtest: what a rule would have done, while the client watches it being found.

Everything that can be wrong with the question is answered with a status; from the first line of
progress on, only the last line can say how it ended.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import attrs
import structlog
import trio
from quart import Blueprint, Response, g

from atalaia.engine.backtest import Backtests, Progress
from atalaia.engine.clock import SystemClock
from atalaia.http import params, render
from atalaia.http.bodies import BacktestBody, SweepBody, read_body
from atalaia.http.errors import as_error, encode, problem, status_of
from atalaia.model.errors import Invalid, NotFound, RuleInvalid
from atalaia.model.ids import DAY_US, Micros, TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries
from atalaia.rules.backtest import Backtest, Order
from atalaia.rules.language import parse_rule
from atalaia.rules.outcome import Outcome, Trial
from atalaia.rules.syntax import MAX_WINDOW_US, RuleSpec, parse_duration
from atalaia.rules.tally import FLAP_US
from atalaia.rules.tenant_state import ActiveRule
from atalaia.rules.variants import Variant, make_variants

log = structlog.get_logger()

PROGRESS_S = 0.5
DEFAULT_US = 7 * DAY_US
LONGEST_US = 400 * DAY_US
ORDERS: dict[str, Order] = {"event": "event", "arrival": "arrival"}


@attrs.frozen
class _Question:
    """The backtest that is asked for, and the rule it is compared with as it is stored."""

    backtest: Backtest
    name: str
    stored: StoredRule | None


def blueprint(queries: Queries) -> Blueprint:
    """`/v1/rules/backtest`."""
    routes = Blueprint("backtest", __name__, url_prefix="/v1/rules")
    backtests = Backtests(queries, SystemClock())

    @routes.post("/backtest")
    async def run_backtest() -> Response:
        body = await read_body(BacktestBody)
        rule, stored = await _find_rule(queries, g.principal.tenant_no, body)
        since, until = _range(body, backtests.clock.now_us())
        backtest = Backtest(
            tenant_id=g.principal.tenant_id,
            variants=_variants(rule, body.sweep),
            live=_live(stored),
            since=since,
            until=until,
            order=_order(body.order),
        )
        run = backtests.run(g.principal.tenant_no, backtest)
        await anext(run)  # whatever can be refused is refused here
        lines = _lines(run, _Question(backtest, rule.name, stored), g.request_id)
        response = Response(lines, content_type="application/x-ndjson")
        response.timeout = None  # Quart's own would cut the answer after a minute
        return response

    return routes


async def _lines(
    run: AsyncGenerator[Progress, None], question: _Question, request_id: str
) -> AsyncGenerator[bytes, None]:
    """Progress at most every PROGRESS_S, then the result or what went wrong."""
    said = 0.0
    last: dict[str, Any]
    try:
        async with aclosing(run):
            async for progress in run:
                if trio.current_time() - said >= PROGRESS_S:
                    said = trio.current_time()
                    share = round(progress.share, 4)
                    yield encode({"progress": share, "readings": progress.readings}) + b"\n"
        last = {"result": await trio.to_thread.run_sync(_result, question)}
    except Exception as error:
        known = as_error(error)
        if status_of(known)[0] == 500:
            log.error("backtest_failed", request_id=request_id, exc_info=error)
        last = {"error": problem(known, request_id)}
    yield encode(last) + b"\n"


async def _find_rule(
    queries: Queries, tenant_no: TenantNo, body: BacktestBody
) -> tuple[RuleSpec, StoredRule | None]:
    """The rule to try, and the stored one to compare it with: by id, else by name."""
    stored = None
    if body.rule_id is not None:
        rule_id = params.identifier(body.rule_id)
        stored = None if rule_id is None else await queries.rule(tenant_no, rule_id)
        if stored is None:
            raise NotFound("There is no rule with this id.")
    if body.text is not None:
        rule = parse_rule(body.text)
        return rule, stored or await queries.rule_named(tenant_no, rule.name)
    if stored is None:
        raise Invalid("Send the text of a rule, or the rule_id of one.", code="bad_body")
    return parse_rule(stored.text), stored


def _live(stored: StoredRule | None) -> ActiveRule | None:
    """A stored text that no longer parses judges nothing live either."""
    if stored is None:
        return None
    try:
        spec = parse_rule(stored.text)
    except RuleInvalid:
        return None
    return ActiveRule(stored.rule_no, stored.rule_id, stored.version, spec)


def _range(body: BacktestBody, now: Micros) -> tuple[Micros, Micros]:
    """Both ends included; nothing is stored from before 1970 or from the future."""
    given = {
        name: value
        for name, value in (("from", body.since), ("to", body.until))
        if value is not None
    }
    until = min(params.time(given, "to") or now, Micros(now + DAY_US))
    since = params.time(given, "from")
    since = Micros(max(0, until - DEFAULT_US if since is None else since))
    if since >= until:
        raise params.bad("from", "the range ends before it begins.")
    if until - since > LONGEST_US:
        raise params.bad("from", f"a range may be {LONGEST_US // DAY_US} days long.")
    return since, until


def _order(text: str) -> Order:
    if text not in ORDERS:
        raise params.bad("order", f"give one of {', '.join(ORDERS)}.")
    return ORDERS[text]


def _variants(rule: RuleSpec, sweep: SweepBody) -> tuple[Variant, ...]:
    try:
        holds = [parse_duration(text) for text in sweep.holds]
    except Invalid as error:
        raise Invalid(f"sweep.for: {error.detail}", code="bad_sweep") from error
    if max(holds, default=0) > MAX_WINDOW_US:
        raise Invalid("sweep.for: a duration may be 30 days long.", code="bad_sweep")
    return make_variants(rule, holds, sweep.threshold)


def _result(question: _Question) -> dict[str, Any]:
    backtest, stored = question.backtest, question.stored
    outcome = backtest.outcome()
    live = None
    if stored is not None:
        live = {
            "id": str(stored.rule_id),
            "name": stored.name,
            "version": stored.version,
            "enabled": stored.enabled,
        }
    return {
        "rule": question.name,
        "live": live,
        "from": render.time(backtest.since),
        "to": render.time(backtest.until),
        "order": backtest.order,
        "sensors": outcome.sensors,
        "readings": outcome.readings,
        "flap_within_s": FLAP_US / 1e6,
        "notes": _notes(question),
        "variants": [_trial(outcome, trial) for trial in outcome.trials],
    }


def _notes(question: _Question) -> list[str]:
    """What the figures do not say of themselves."""
    backtest, notes = question.backtest, []
    if backtest.silence:
        notes = [
            "Silence goes by when readings arrived, whatever the order asked for.",
            "Times at which this service was down are not recorded: live rules open nothing for "
            "them, but here they are silence.",
        ]
    if backtest.incomparable:
        notes.append(
            "There is no comparison with the live rule: one of the two waits for silence, by "
            "arrival, and the other one judges readings, by their time."
        )
    return notes


def _trial(outcome: Outcome, trial: Trial) -> dict[str, Any]:
    difference = trial.difference
    busiest = trial.busiest_day
    return {
        "for": trial.variant.holds,
        "threshold": trial.variant.threshold,
        "as_written": trial.variant.as_written,
        "live": trial.live,
        "opened": trial.opened,
        "open_at_end": trial.open_at_end,
        "flaps": trial.flaps,
        "per_day": outcome.per_day(trial),
        "busiest_day": busiest and {"day": str(render.time(busiest[0]))[:10], "opened": busiest[1]},
        "firing_s": trial.firing_us / 1e6,
        "firing_share": outcome.firing_share(trial),
        "severities": trial.severities,
        "sensors_alerting": trial.sensors_alerting,
        "noisiest": [{"sensor": name, "opened": opened} for name, opened in trial.noisiest],
        "diff": difference and attrs.asdict(difference),
        "alerts": [
            {
                "id": None if alert.alert_id is None else str(alert.alert_id),
                "sensor": alert.sensor,
                "severity": alert.severity,
                "opened_at": render.time(alert.opened_at),
                "opened_value": alert.value,
                "cleared_at": render.time(alert.cleared_at),
            }
            for alert in trial.alerts
        ],
        "alerts_left_out": trial.opened - len(trial.alerts),
    }
