"""A rule as it is stored, apart from its compiled form."""

from uuid import UUID

import attrs

from atalaia.model.condition import tag_of
from atalaia.model.ids import Micros, RuleNo


@attrs.frozen
class StoredRule:
    """One rule of one tenant.

    version counts condition edits, revision every edit; active_from is the received_at from
    which this version judges.
    """

    rule_no: RuleNo
    rule_id: UUID
    name: str
    text: str
    version: int
    revision: int
    enabled: bool
    active_from: Micros
    created_at: Micros
    updated_at: Micros

    @property
    def tag(self) -> str:
        """Another one after every edit."""
        return tag_of(attrs.astuple(self))
