"""Administrators, who edit a tenant's rules, sensors and lateness, and look whether it was done."""

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import trio

from atalaia.engine.gate import Gate
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, RuleEdit, SwitchRule
from atalaia.engine.receipt import EDIT_IS_SLOW, Receipt
from atalaia.model.errors import AtalaiaError, Conflict, NotFound, Overloaded, Unavailable
from atalaia.model.ids import TenantNo
from tests.simulation.clients import ask
from tests.simulation.plan import JUDGING, KEPT_IN_ORDER, LATENESS_US, NAMES, SILENT
from tests.simulation.world import World

EDITS = ("tag", "tag", "rule", "rule", "delay", "delay", "remove", "register")


@attrs.define(eq=False)
class Administrator:
    """Edits a tenant's rules and tags, and looks whether it was done."""

    world: World
    tenant_no: TenantNo
    _random: Random = attrs.field(init=False)
    _registered: set[str] = attrs.field(factory=set)
    """Sensors whose registration was answered, and whose removal was not asked for since."""

    def __attrs_post_init__(self) -> None:
        self._random = Random(f"administrator/{self.world.plan.seed}/{self.tenant_no}")

    async def run(self) -> None:
        rng = self._random
        for _ in range(rng.randint(1, 3)):
            await self._edit(CreateRule(self._text()))
        for _ in range(self.world.plan.edits):
            await trio.sleep(rng.choice([0.0, 0.3, 2.0, 5.0]))
            kind = rng.choice(
                ["tag", "tag", "rule", "rule", "delay", "delay", "remove", "register"]
            )
            match kind:
                case "tag":
                    await self._tag()
                case "delay":
                    await self._delay()
                case "remove":
                    await self._remove()
                case "register":
                    await self._register()
                case _:
                    await self._edit(self._change())

    def _text(self, name: str | None = None) -> str:
        rng = self._random
        name = name or f"r{rng.randint(1, 4)}"
        return f"rule {name} {rng.choice(SILENT if rng.random() < 0.3 else JUDGING)}"

    def _change(self) -> RuleEdit:
        rng = self._random
        writes = self.world.database.tenants[self.tenant_no].rules.values()
        rules = [write.rule for write in writes if not write.deleted]
        if not rules or rng.random() < 0.3:
            return CreateRule(self._text(), enabled=rng.random() < 0.8)
        rule = rng.choice(rules)
        relabelled = rule.text if "cooldown" in rule.text else f"{rule.text} cooldown 1m"
        edits: list[RuleEdit] = [
            ReplaceRule(rule.rule_id, self._text(rule.name)),
            ReplaceRule(rule.rule_id, relabelled),
            SwitchRule(rule.rule_id, not rule.enabled),
            DeleteRule(rule.rule_id),
        ]
        return rng.choice(edits)

    async def _edit(self, edit: RuleEdit) -> None:
        world, no = self.world, self.tenant_no
        for _ in range(self._random.randint(1, 4)):
            world.note("edit", tenant=no, edit=edit)
            answer = await ask(world, lambda gate: gate.edit_rule(no, edit), EDIT_IS_SLOW, 20.0)
            world.note("edited", tenant=no, answer=answer)
            if answer is not None and not isinstance(answer, AtalaiaError):
                write = world.database.tenants[no].rules.get(answer.rule_no)
                world.check(
                    write is not None and write.rule.revision >= answer.revision,
                    "an edit that was answered is stored", rule=answer,
                )  # fmt: skip
                return
            self._check_refusal(answer)
            await trio.sleep(self._random.choice([0.1, 2.0]))

    async def _tag(self, sensor: str | None = None) -> None:
        sensor = sensor or self._any_sensor()
        if sensor is not None:
            tags = self._random.choice([{}, {"zone": "n"}, {"zone": "n"}, {"zone": "s"}])
            await self._ask("tag", lambda gate: gate.set_tags(self.tenant_no, {sensor: tags}),
                            sensor=sensor, tags=tags)  # fmt: skip

    async def _delay(self) -> None:
        rng, no = self._random, self.tenant_no
        sensor = self._any_sensor() if rng.random() < 0.5 else None
        lateness_us = rng.choice([0, *LATENESS_US, *LATENESS_US, None if sensor else 0])
        done = await self._ask(
            "delay", lambda gate: gate.set_lateness(no, sensor, lateness_us),
            sensor=sensor, lateness_us=lateness_us,
        )  # fmt: skip
        tenant = self.world.database.tenants[no]
        there = {row.name: row.lateness_us for row in tenant.living()} | {None: tenant.lateness_us}
        self.world.check(
            not done or there[sensor] == lateness_us,
            "a lateness that was answered is stored", sensor=sensor, stored=there,
        )  # fmt: skip

    async def _remove(self) -> None:
        sensor = self._any_sensor()
        if sensor is not None:
            self._registered.discard(sensor)
            tenant = self.world.database.tenants[self.tenant_no]
            before = {row.sensor_no for row in tenant.living() if row.name == sensor}
            done = await self._ask(
                "remove", lambda gate: gate.remove(self.tenant_no, sensor), sensor=sensor
            )
            gone = self.world.database.tenants[self.tenant_no].removed
            self.world.check(
                not done or before <= set(gone), "a removal that was answered is stored",
                sensor=sensor,
            )  # fmt: skip

    async def _register(self) -> None:
        no, name = self.tenant_no, self._random.choice([*NAMES, *KEPT_IN_ORDER, "s4", "s5"])
        tags = self._random.choice([{}, {"zone": "n"}])
        done = await self._ask(
            "register", lambda gate: gate.register(no, {name: tags}), sensor=name, tags=tags
        )
        if done:
            self.world.registered.add((no, name))
            self._registered.add(name)
            self.world.check(
                name in {row.name for row in self.world.database.tenants[no].living()},
                "a registration that was answered is stored", sensor=name,
            )  # fmt: skip
            if self._random.random() < 0.5:
                await self._tag(name)

    def _any_sensor(self) -> str | None:
        names = sorted({row.name for row in self.world.database.tenants[self.tenant_no].living()})
        return self._random.choice(names) if names else None

    async def _ask(
        self, what: str, make: Callable[[Gate], Receipt[Any]], **details: object
    ) -> bool:
        """Once; whether it is known to be done."""
        world, receipts = self.world, list[Receipt[Any]]()

        def keep(gate: Gate) -> Receipt[Any]:
            receipts.append(make(gate))
            return receipts[0]

        world.note(what, tenant=self.tenant_no, **details)
        answer = await ask(world, keep, EDIT_IS_SLOW, 20.0)
        self._check_refusal(answer if isinstance(answer, AtalaiaError) else None)
        self.world.check(
            not isinstance(answer, NotFound) or details["sensor"] not in self._registered,
            "what was registered is known", **details,
        )  # fmt: skip
        done = any(receipt.settled and not receipt.failed for receipt in receipts)
        world.note("asked", tenant=self.tenant_no, done=done, answer=answer)
        return done

    def _check_refusal(self, answer: AtalaiaError | None) -> None:
        world = self.world
        if answer is None:
            return
        world.answers[answer.code] += 1
        ours = isinstance(answer, Overloaded | Unavailable)
        world.check(
            ours or isinstance(answer, Conflict | NotFound),
            "a good edit is not refused", error=repr(answer),
        )  # fmt: skip
        world.check(
            not (ours and world.bystander(self.tenant_no)),
            "one tenant's faults are nobody else's", error=repr(answer),
        )  # fmt: skip
