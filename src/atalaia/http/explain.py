"""Why a rule has no alert open at a sensor, or why it has."""

from typing import Any

import attrs
from quart import Blueprint, g, request

from atalaia.engine.edits import Edits
from atalaia.engine.explain import Explained, Explainer
from atalaia.http import params, render
from atalaia.model.errors import NotFound
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries
from atalaia.rules.weighing import Clause
from atalaia.wire.rows import check_name


def blueprint(gate: Edits, queries: Queries) -> Blueprint:
    """`/v1/rules/<rule>/explain`."""
    routes = Blueprint("explain", __name__, url_prefix="/v1/rules")
    explainer = Explainer(queries, gate.hearing)

    @routes.get("/<rule>/explain")
    async def explain_rule(rule: str) -> dict[str, Any]:
        sensor = request.args.get("sensor")
        if sensor is None:
            raise params.bad("sensor", "name one; GET /v1/sensors lists them.")
        rule_id = params.identifier(rule)
        principal = g.principal
        stored = None
        if rule_id is not None:
            stored = await queries.rule(principal.tenant_no, rule_id)
        if stored is None:
            raise NotFound("There is no rule with this id.")
        if check_name(sensor, "x") is not None:
            raise NotFound(f'There is no sensor named "{sensor}".')
        told = await explainer.explain(principal.tenant_no, principal.tenant_id, stored, sensor)
        return _render(stored, sensor, told)

    return routes


def _render(stored: StoredRule, sensor: str, told: Explained) -> dict[str, Any]:
    standing, answer = told.standing, told.explanation
    return {
        "rule": {
            "id": str(stored.rule_id),
            "name": stored.name,
            "version": stored.version,
            "enabled": stored.enabled,
        },
        "sensor": sensor,
        "summary": answer.summary,
        "state": standing.phase,
        "since": render.time(standing.since),
        "level": standing.level,
        "alert_id": None if told.alert is None else str(told.alert),
        "judged_at": render.time(answer.judged_at),
        "condition": _clause(answer.condition),
        "clear_when": None if answer.clear is None else _clause(answer.clear),
        "levels": [{"severity": one.severity} | _clause(one) for one in answer.levels],
        "earliest": {"at": render.time(answer.earliest), "note": answer.earliest_note},
        "suppressed_by": [attrs.asdict(one) for one in answer.obstacles],
        "silence": answer.silence
        and {
            "last_heard": render.time(answer.silence.last_heard),
            "since": render.time(answer.silence.since),
            "deadline": render.time(answer.silence.deadline),
        },
    }


def _clause(told: Clause) -> dict[str, Any]:
    return {
        "text": told.text,
        "truth": told.truth,
        "comparisons": [
            render.comparison(one.comparison)
            | {"distance": one.distance, "unknown_because": one.unknown}
            for one in told.weighings
        ],
    }
