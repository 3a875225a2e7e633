"""What is written down of an act that somebody may have to answer for."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import attrs

from atalaia.model.ids import Micros


@attrs.frozen
class Actor:
    """Who did it. subject: stays the same (`user:<id>`, `key:<id>`, `cli`); name: as it was called
    then.
    """

    subject: str
    name: str = ""


THE_SERVICE = Actor("service")
"""What nobody asked for: the demo, and whatever the process does by itself."""


COMMAND_LINE = Actor("cli")
"""Whoever holds the database's own credentials."""


@attrs.frozen
class AuditEntry:
    """One act. target: what it was done to; detail: the rest, never a secret."""

    actor: Actor
    action: str
    target: str
    detail: Mapping[str, Any] = attrs.field(factory=dict)


MOST_LISTED = 100


def listed(names: Collection[str]) -> list[str]:
    """Names for a detail: the first of many, and how many more there are."""
    some = list(names)[:MOST_LISTED]
    return some if len(names) <= MOST_LISTED else [*some, f"and {len(names) - MOST_LISTED} more"]


@attrs.frozen
class AuditRow:
    """An entry as it is stored: in its place in the tenant's chain, by the database's clock.

    detail: JSON text, just as the hash covers it.
    """

    seq: int
    at: Micros
    actor: str
    actor_name: str
    action: str
    target: str
    detail: str
    hash: bytes


@attrs.frozen
class ChainHead:
    """Where a tenant's chain ends, or ended."""

    tenant_id: UUID
    seq: int
    hash: bytes
