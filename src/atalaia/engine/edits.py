"""What the HTTP face needs of the engine beside handing in readings, and what stands there in a
process that has none."""

from typing import NoReturn, Protocol

import attrs

from atalaia.engine.messages import RuleEdit
from atalaia.engine.receipt import Receipt
from atalaia.model.errors import Conflict
from atalaia.model.ids import TenantNo
from atalaia.model.rule import StoredRule


class Edits(Protocol):
    """`Gate`, as the routes see it."""

    @property
    def retention_us(self) -> int | None: ...

    def edit_rule(self, tenant_no: TenantNo, edit: RuleEdit) -> Receipt[StoredRule]: ...

    def set_tags(self, tenant_no: TenantNo, sensor: str, tags: dict[str, str]) -> Receipt[None]: ...

    def observe(self) -> None: ...


@attrs.frozen
class NoEngine:
    """Of the role `http`: whatever changes a tenant's rules or tags is for another process."""

    retention_us: int | None

    def edit_rule(self, tenant_no: TenantNo, edit: RuleEdit) -> Receipt[StoredRule]:
        """Raises Conflict."""
        self._refuse()

    def set_tags(self, tenant_no: TenantNo, sensor: str, tags: dict[str, str]) -> Receipt[None]:
        """Raises Conflict."""
        self._refuse()

    def observe(self) -> None:
        """There is nothing to see."""

    def _refuse(self) -> NoReturn:
        raise Conflict(
            "This process only takes readings (--role http). Send changes of rules and tags to "
            "the one that runs the engine (--role engine or all).",
            code="no_engine",
        )
