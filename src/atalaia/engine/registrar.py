"""Sensors that are registered ahead of their readings, tagged and removed: each after every batch
before it.
"""

from collections.abc import Mapping

import attrs
import structlog

from atalaia.engine.editor import Editor, find_sensors
from atalaia.engine.messages import RegisterRequest, RemovalRequest, SensorTags, TagsRequest
from atalaia.engine.recover import add_sensors, joining_bytes
from atalaia.engine.rule_edits import check_joining, check_tags
from atalaia.engine.state import TenantState
from atalaia.model.audit import AuditEntry, listed
from atalaia.model.batch import MAX_TAGS, merge_tags
from atalaia.model.errors import Conflict
from atalaia.model.ids import SensorNo
from atalaia.ports import TagsWrite

log = structlog.get_logger()

NS_TO_MERGE = 10_000  # the tags of a sensor with others


@attrs.frozen(eq=False)
class Registrar:
    """Of one life of a tenant's actor, which alone calls it and answers the errors.

    Raises AtalaiaError for what is refused, StoreUnavailable.
    """

    editor: Editor

    async def register(self, state: TenantState, request: RegisterRequest) -> bool:
        """Those that are there already stay as they are. The silence of the others begins now.

        Answered after a commit, though it holds nothing: a process that has been superseded cannot
        say that a sensor is known, since whoever superseded it may have loaded the tenant before.
        True when the state must be rebuilt: some were registered behind its back by such a one.
        """
        new = {name: tags for name, tags in request.sensors.items() if not state.knows_sensor(name)}
        if not new:
            request.receipt.settle([])
            return False
        check_joining(state, await joining_bytes(state, new, new))
        editor = self.editor
        now = editor.clock.now_us()
        audit = AuditEntry(request.by, "sensors.registered", "", {"sensors": listed(new)})
        rows = await editor.store.register_sensors(editor.tenant_no, new, now, audit)
        await add_sensors(state, rows, {})
        names = [row.name for row in rows]
        state.deltas += 1
        item = editor.item(state, state.next_arrival(editor.clock.now_us()))
        await editor.send(item, request.receipt, lambda _: request.receipt.settle(names))
        if len(rows) == len(new):
            return False
        await editor.incarnation.settled()
        return True

    async def tag(self, state: TenantState, request: TagsRequest) -> bool:
        """Commit the tags, sensor by sensor; True when the state must be rebuilt with them."""
        editor = self.editor
        await editor.incarnation.settled()
        known = find_sensors(state, request.tags)
        await request.first()
        tags = await editor.threads.run(
            state.rules.foresight.cost_ns + NS_TO_MERGE * len(known), _weigh, state, known, request
        )
        if not tags:
            request.receipt.settle(())
            return False
        for left, (name, wanted) in zip(range(len(tags))[::-1], tags.items(), strict=True):
            sensor_no, slot = known[name]
            arrived = state.next_arrival(editor.clock.now_us())
            closings = state.rules.leave(slot, wanted, arrived=arrived, reason="rule_changed")
            write = TagsWrite(sensor_no, wanted)
            audit = AuditEntry(request.by, "sensor.tagged", name, {"tags": dict(wanted)})
            item = editor.item(state, arrived, transitions=closings, tags_write=write, audit=audit)
            if left:
                await editor.send_part(state, item, request.receipt)
            else:
                await editor.send(
                    item, request.receipt, lambda _: request.receipt.settle(tuple(tags))
                )
        await editor.incarnation.settled()
        return True

    async def remove(self, state: TenantState, request: RemovalRequest) -> None:
        """Commit the end of a sensor with that of its alerts; the state must be rebuilt."""
        editor = self.editor
        await editor.incarnation.settled()
        sensor_no, slot = find_sensors(state, [request.sensor])[request.sensor]
        await request.first()
        arrived = state.next_arrival(editor.clock.now_us())
        closings = state.rules.forsake(slot, arrived=arrived, reason="sensor_deleted")
        audit = AuditEntry(request.by, "sensor.removed", request.sensor)
        item = editor.item(state, arrived, transitions=closings, removal=sensor_no, audit=audit)
        await editor.send(item, request.receipt, lambda _: request.receipt.settle(None))
        await editor.incarnation.settled()
        log.info("sensor_removed", sensor=request.sensor, alerts_closed=len(closings))


def _weigh(
    state: TenantState, known: Mapping[str, tuple[SensorNo, int]], request: TagsRequest
) -> SensorTags:
    """All tags that these sensors are to have; without those that have them, where only some are
    meant. Raises Conflict for more than a sensor or the rules may have.
    """
    tags = request.tags
    if request.about is not None:
        now = {name: state.rules.tags_of(known[name][1]) for name in tags}
        merged = {name: merge_tags(now[name], said, request.about) for name, said in tags.items()}
        tags = {name: wanted for name, wanted in merged.items() if wanted != now[name]}
    for name, wanted in tags.items():
        if len(wanted) > MAX_TAGS:
            raise Conflict(
                f'The sensor "{name}" has other tags too, and may have {MAX_TAGS}; take some away '
                "first."
            )
    check_tags(state, {known[name][1]: wanted for name, wanted in tags.items()})
    return tags
