"""What is said of rules before they are saved: lints, cost, how many sensors they match.

Asks the port for what is known of the tenant and leaves the judging to the pure `rules.lints` and
`rules.cost`.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import attrs

from atalaia.http.aside import Aside
from atalaia.model.ids import DAY_US, TenantNo
from atalaia.model.quota import MAX_RULES
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries
from atalaia.rules.cost import Cost, estimate_costs
from atalaia.rules.language import parse_rule, parse_rules
from atalaia.rules.lints import Lint, Surroundings, find_lints
from atalaia.rules.syntax import RuleSpec
from atalaia.rules.unit_check import check_units

ASSUMED_INTERVAL_US = 1_000_000


@attrs.frozen
class CheckedRule:
    """One rule of a text; matches: the sensors that it would watch now."""

    spec: RuleSpec
    lints: tuple[Lint, ...]
    cost: Cost
    matches: int


@attrs.frozen(eq=False)
class RuleChecks:
    """Checks texts against what a tenant has."""

    _queries: Queries
    _retention_us: int | None
    _aside: Aside

    async def check(
        self,
        tenant_no: TenantNo,
        text: str,
        *,
        interval_us: int | None = None,
        replaces: UUID | None = None,
    ) -> list[CheckedRule]:
        """Every rule of the text, in its order. Raises RuleInvalid, for its units too.

        interval_us: how often metrics are read, where that is known; costs assume a second.
        replaces: the rule in whose place the text will stand.
        """
        rules = await self._aside.run(tenant_no, parse_rules, text)
        stored = [
            rule
            for rule in await all_rules(self._queries, tenant_no)
            if rule.enabled and rule.rule_id != replaces
        ]
        matches = await self._queries.count_sensors(tenant_no, [rule.selector for rule in rules])
        units = await self._queries.units(tenant_no, [m for rule in rules for m in rule.metrics])
        kept = await self._kept_us(tenant_no)
        return await self._aside.run(
            tenant_no, self._judge, text, rules, stored, matches, units, interval_us, kept
        )

    async def _kept_us(self, tenant_no: TenantNo) -> int | None:
        """How long readings are kept, by the service or by their tenant; None: for ever."""
        days = (await self._queries.settings(tenant_no)).retention_days
        own = None if days is None else days * DAY_US
        return min((us for us in (own, self._retention_us) if us is not None), default=None)

    def _judge(
        self,
        text: str,
        rules: Sequence[RuleSpec],
        stored: Sequence[StoredRule],
        matches: Sequence[int],
        units: Mapping[str, str],
        interval_us: int | None,
        kept_us: int | None,
    ) -> list[CheckedRule]:
        names = [rule.name for rule in rules]
        others = {rule.name: parse_rule(rule.text) for rule in stored if rule.name not in names}
        around = Surroundings(
            others=others,
            matches=dict(zip(names, matches, strict=True)),
            retention_us=kept_us,
            interval_us=interval_us,
        )
        measured = check_units(text, rules, units)
        lints = [
            tuple(sorted(mine + also, key=lambda lint: (lint.line, lint.column)))
            for mine, also in zip(find_lints(text, rules, around), measured, strict=True)
        ]
        costs = estimate_costs(rules, others.values(), interval_us or ASSUMED_INTERVAL_US)
        return [CheckedRule(*found) for found in zip(rules, lints, costs, matches, strict=True)]


async def all_rules(queries: Queries, tenant_no: TenantNo) -> Sequence[StoredRule]:
    """Every rule of the tenant, in the order of creation."""
    return await queries.rules(tenant_no, after=0, limit=MAX_RULES)
