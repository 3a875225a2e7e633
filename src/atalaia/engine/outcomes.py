"""Commits whose outcome is unknown. Trying again settles it; but whoever gives up must know that
the lost transaction may still be under way in the database, and land.

Invariant: nobody loads a state that an earlier try of a commit can still change.
"""

from collections.abc import Sequence
from uuid import UUID

import attrs

from atalaia.ports import CommitItem, EngineStore, StoreUnavailable


@attrs.define(eq=False)
class Outcomes:
    """Between the flusher, who commits, and the actors, who load."""

    _store: EngineStore
    _unknown: set[UUID] = attrs.field(factory=set)

    async def commit(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        """As `EngineStore.commit_group`. Once it is done no earlier try of the group can land."""
        try:
            late = await self._store.commit_group(group_id, items)
        except StoreUnavailable:
            self._unknown.add(group_id)
            raise
        self._unknown.discard(group_id)
        return late

    async def settle(self) -> None:
        """Wait until every outcome stands. Raises StoreUnavailable."""
        settled = set(self._unknown)
        if settled:
            await self._store.outlast_commits()
            self._unknown -= settled
