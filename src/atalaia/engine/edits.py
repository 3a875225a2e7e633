"""What the HTTP face needs of the engine beside handing in readings, and what stands there in a
process that has none."""

from collections.abc import Sequence, Set
from typing import NoReturn, Protocol

import attrs
import trio

from atalaia.engine.broadcast import Broadcast
from atalaia.engine.messages import Outlook, RuleEdit, SensorTags, Step, nothing
from atalaia.engine.parsers import Parsers
from atalaia.engine.quota import Quotas
from atalaia.engine.receipt import Receipt
from atalaia.model.audit import THE_SERVICE, Actor
from atalaia.model.errors import Conflict
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.model.rule import StoredRule
from atalaia.rules.syntax import RuleSpec


@attrs.frozen
class TenantStatus:
    """reason, retry_after_s: why a tenant is in quarantine, and when it is tried again."""

    unsettled_rows: int = 0
    reason: str | None = None
    retry_after_s: int | None = None


class Hears(Protocol):
    """`Hearing`, as questions see it."""

    @property
    def deaf(self) -> bool: ...

    def silent_since(self, sensor: str, heard: Micros) -> Micros: ...


class Edits(Protocol):
    """`Gate`, as the routes see it."""

    @property
    def retention_us(self) -> int | None: ...

    @property
    def commits(self) -> bool: ...

    @property
    def quotas(self) -> Quotas: ...

    @property
    def parsers(self) -> Parsers: ...

    def admit(self, tenant_no: TenantNo, quota: Quota = NO_QUOTA) -> None: ...

    def pay(
        self, tenant_no: TenantNo, quota: Quota = NO_QUOTA, *, readings: int = 0, size: int = 0
    ) -> None: ...

    def edit_rule(
        self,
        tenant_no: TenantNo,
        edit: RuleEdit,
        quota: Quota = NO_QUOTA,
        by: Actor = THE_SERVICE,
    ) -> Receipt[StoredRule]: ...

    def register(
        self, tenant_no: TenantNo, sensors: SensorTags, by: Actor = THE_SERVICE
    ) -> Receipt[Sequence[str]]: ...

    def do(self, tenant_no: TenantNo, first: Step) -> Receipt[None]: ...

    def set_tags(
        self,
        tenant_no: TenantNo,
        tags: SensorTags,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
        about: Set[str] | None = None,
    ) -> Receipt[Sequence[str]]: ...

    def remove(
        self,
        tenant_no: TenantNo,
        sensor: str,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]: ...

    def set_lateness(
        self,
        tenant_no: TenantNo,
        sensor: str | None,
        lateness_us: int | None,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]: ...

    def foresee(self, tenant_no: TenantNo, specs: Sequence[RuleSpec]) -> Receipt[Outlook]: ...

    def max_rules(self, quota: Quota) -> int: ...

    def status(self, tenant_no: TenantNo) -> TenantStatus: ...

    def hearing(self, tenant_no: TenantNo) -> Hears: ...

    def observe(self) -> None: ...

    @property
    def broadcast(self) -> Broadcast: ...


@attrs.frozen
class NoEngine:
    """Of the role `http`: whatever changes or asks a tenant's rules is for another process.

    What its senders may send is held to their quotas here.
    """

    retention_us: int | None
    quotas: Quotas
    parsers: Parsers = attrs.field(factory=Parsers)

    @property
    def commits(self) -> bool:
        return True

    @property
    def broadcast(self) -> Broadcast:
        """Raises Conflict."""
        self._refuse()

    def admit(self, tenant_no: TenantNo, quota: Quota = NO_QUOTA) -> None:
        """Raises Overloaded."""
        self.quotas.check(tenant_no, quota, trio.current_time())

    def pay(
        self, tenant_no: TenantNo, quota: Quota = NO_QUOTA, *, readings: int = 0, size: int = 0
    ) -> None:
        self.quotas.pay(tenant_no, quota, trio.current_time(), readings=readings, size=size)

    def edit_rule(
        self,
        tenant_no: TenantNo,
        edit: RuleEdit,
        quota: Quota = NO_QUOTA,
        by: Actor = THE_SERVICE,
    ) -> Receipt[StoredRule]:
        """Raises Conflict."""
        self._refuse()

    def register(
        self, tenant_no: TenantNo, sensors: SensorTags, by: Actor = THE_SERVICE
    ) -> Receipt[Sequence[str]]:
        """Raises Conflict."""
        self._refuse()

    def do(self, tenant_no: TenantNo, first: Step) -> Receipt[None]:
        """Raises Conflict."""
        self._refuse()

    def set_tags(
        self,
        tenant_no: TenantNo,
        tags: SensorTags,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
        about: Set[str] | None = None,
    ) -> Receipt[Sequence[str]]:
        """Raises Conflict."""
        self._refuse()

    def remove(
        self,
        tenant_no: TenantNo,
        sensor: str,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]:
        """Raises Conflict."""
        self._refuse()

    def set_lateness(
        self,
        tenant_no: TenantNo,
        sensor: str | None,
        lateness_us: int | None,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]:
        """Raises Conflict."""
        self._refuse()

    def foresee(self, tenant_no: TenantNo, specs: Sequence[RuleSpec]) -> Receipt[Outlook]:
        """Raises Conflict."""
        self._refuse()

    def max_rules(self, quota: Quota) -> int:
        """Raises Conflict."""
        self._refuse()

    def status(self, tenant_no: TenantNo) -> TenantStatus:
        """Raises Conflict."""
        self._refuse()

    def hearing(self, tenant_no: TenantNo) -> "NoEngine":
        """Nobody listens here; what the engine has heard is all that is known."""
        return self

    @property
    def deaf(self) -> bool:
        return False

    def silent_since(self, sensor: str, heard: Micros) -> Micros:
        return heard

    def observe(self) -> None:
        """There is nothing to see."""

    def _refuse(self) -> NoReturn:
        raise Conflict(
            "This process only takes readings (--role http). Send changes of rules, sensors and "
            "lateness, checks, streams and questions of status to the one that runs the engine "
            "(--role engine or all).",
            code="no_engine",
        )
