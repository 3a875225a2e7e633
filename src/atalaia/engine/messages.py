"""What travels through the engine: into an inbox, and from an actor to the flusher."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Any
from uuid import UUID

import attrs
import trio

from atalaia.engine.receipt import Answer, Receipt
from atalaia.model.audit import THE_SERVICE, Actor
from atalaia.model.batch import Batch, Tags
from atalaia.model.condition import UNCONDITIONAL, Condition
from atalaia.model.errors import Conflict
from atalaia.model.rule import StoredRule
from atalaia.ports import CommitItem
from atalaia.rules.syntax import RuleSpec


@attrs.frozen(eq=False)
class Submission:
    """One request's readings, waiting for its tenant's actor.

    after: the same sender's batch before this one. When it fails this one does too, so that a
    sender who sends both again keeps their order.
    """

    batch: Batch
    receipt: Receipt[Answer]
    after: Receipt[Answer] | None = None


@attrs.frozen
class CreateRule:
    """Make a rule of this text (one rule), in service or not."""

    text: str
    enabled: bool = True


@attrs.frozen
class ReplaceRule:
    """Give a rule another text; it must keep its name or take a free one."""

    rule_id: UUID
    text: str
    only: Condition = UNCONDITIONAL


@attrs.frozen
class SwitchRule:
    """Enable or disable a rule."""

    rule_id: UUID
    enabled: bool
    only: Condition = UNCONDITIONAL


@attrs.frozen
class DeleteRule:
    """Take a rule out of service; its alerts are closed and keep their history."""

    rule_id: UUID
    only: Condition = UNCONDITIONAL


RuleEdit = CreateRule | ReplaceRule | SwitchRule | DeleteRule


@attrs.frozen(eq=False)
class RuleRequest:
    """A rule change, taking the same road as readings: no lock, no race.

    most: rules that the tenant may have.
    """

    edit: RuleEdit
    receipt: Receipt[StoredRule]
    most: int
    by: Actor = THE_SERVICE


SensorTags = Mapping[str, Tags]
"""By the names of sensors."""


Step = Callable[[], Awaitable[None]]
"""Something to be done in a tenant's turn, when everything before it is committed. What it raises
of ours is the request's answer, and nothing more is done then.
"""


async def nothing() -> None:
    """The step that is none."""


@attrs.frozen(eq=False)
class StepRequest:
    """A step by itself."""

    first: Step
    receipt: Receipt[None]


@attrs.frozen(eq=False)
class RegisterRequest:
    """Sensors that are to be there before their first reading; answered with those that are new."""

    sensors: SensorTags
    receipt: Receipt[Sequence[str]]
    by: Actor = THE_SERVICE


@attrs.frozen(eq=False)
class TagsRequest:
    """New tags for sensors: selectors may match differently from here on. Answered with the names
    of those that were given others than they had; all of them where all their tags are meant.

    about: the tags that are meant, where it is not all: what else a sensor has then stays.
    """

    tags: SensorTags
    receipt: Receipt[Sequence[str]]
    by: Actor = THE_SERVICE
    first: Step = nothing
    about: Set[str] | None = None


@attrs.frozen(eq=False)
class RemovalRequest:
    """A sensor is to go: its alerts are closed, its history stays, its name is free again."""

    sensor: str
    receipt: Receipt[None]
    by: Actor = THE_SERVICE
    first: Step = nothing


@attrs.frozen(eq=False)
class LatenessRequest:
    """A new lateness for a sensor, or for the tenant (no sensor): what waits is judged first.

    lateness_us: None for a sensor that is to have its tenant's.
    """

    sensor: str | None
    lateness_us: int | None
    receipt: Receipt[None]
    by: Actor = THE_SERVICE
    first: Step = nothing


@attrs.frozen
class Outlook:
    """What rules would do to a tenant's memory, in bytes, and why they would be refused."""

    now_bytes: int
    with_bytes: int
    limit_bytes: int
    refusals: Sequence[Conflict]


@attrs.frozen(eq=False)
class OutlookRequest:
    """Rules that may be saved: what would become of them? Changes nothing."""

    specs: Sequence[RuleSpec]
    receipt: Receipt[Outlook]


ITEM_ROWS = 10
"""What an item costs beside its rows, in rows: 41,000 batches of one row are committed in a second,
or 410,000 rows (bench/group.py)."""

STEP_ROWS = 25
"""What a step of an alert costs, in rows: to open one takes some 60 µs with its evidence."""

Message = (
    Submission
    | RuleRequest
    | StepRequest
    | RegisterRequest
    | TagsRequest
    | RemovalRequest
    | LatenessRequest
    | OutlookRequest
)


@attrs.define(eq=False)
class Incarnation:
    """One life of a tenant's actor, from loading to its end.

    broken: a commit of it failed for good, so its memory is ahead of the truth; nothing more of
    it may be committed and its scope is cancelled. outstanding, steps: works not yet settled, and
    the steps of alerts in them.
    """

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    broken: bool = False
    outstanding: int = 0
    steps: int = 0
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def began(self, item: CommitItem) -> None:
        self.outstanding += 1
        self.steps += len(item.transitions)

    def ended(self, item: CommitItem) -> None:
        self.outstanding -= 1
        self.steps -= len(item.transitions)
        self._waiting.unpark_all()

    def break_off(self) -> None:
        self.broken = True
        self.scope.cancel()

    async def settled(self) -> None:
        """Wait until every work handed to the flusher is settled."""
        while self.outstanding:
            await self._waiting.park()

    async def eased(self, most_steps: int) -> None:
        """Wait until no more than so many steps of alerts wait for their commit."""
        while self.steps > most_steps:
            await self._waiting.park()


@attrs.frozen(eq=False)
class Work:
    """A judged item on its way to the next commit, and who waits for it.

    settle is called with the number of old rows that were new, after the commit.
    """

    item: CommitItem
    receipt: Receipt[Any]
    settle: Callable[[int], None]
    incarnation: Incarnation

    @property
    def size(self) -> int:
        """What its commit costs, in rows."""
        return self.item.rows + STEP_ROWS * len(self.item.transitions) + ITEM_ROWS

    def ended(self) -> None:
        self.incarnation.ended(self.item)
