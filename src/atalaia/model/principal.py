"""Who is asking, and what they may do there."""

from typing import Literal, get_args
from uuid import UUID

import attrs

from atalaia.model.audit import Actor
from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota

Role = Literal["viewer", "operator", "admin"]
"""Of people, the least first: each may do what the one before it may."""

ROLES: tuple[Role, ...] = get_args(Role)

Scope = Literal["read", "ingest", "rules", "sensors", "admin"]
"""Of API keys. `admin` includes all others; who may change rules or sensors may look, too."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

OPENED_BY: dict[Scope, frozenset[str]] = {
    "read": frozenset({"read", "rules", "sensors", "admin"}),
    "ingest": frozenset({"ingest", "admin"}),
    "rules": frozenset({"rules", "admin"}),
    "sensors": frozenset({"sensors", "admin"}),
    "admin": frozenset({"admin"}),
}
"""Any of these is enough where a key needs that scope."""

LEAST_ROLE: dict[Scope, Role] = {
    "read": "viewer",
    "ingest": "operator",
    "rules": "operator",
    "sensors": "operator",
    "admin": "admin",
}
"""Who of the people may do what a key needs that scope for."""


@attrs.frozen
class Person:
    """A user as a session shows them. platform: looks after all tenants."""

    user_id: UUID
    email: str
    role: Role
    session_id: UUID
    platform: bool = False

    def may(self, scope: Scope) -> bool:
        return self.is_at_least(LEAST_ROLE[scope])

    def is_at_least(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@attrs.frozen
class Principal:
    """The holder of a credential: one tenant, and what the credential may do there.

    key_id and scopes are a key's; a person has neither, but a role.
    """

    tenant_no: TenantNo
    tenant_id: UUID
    key_id: str
    scopes: frozenset[str]
    quota: Quota = NO_QUOTA
    person: Person | None = None
    key_name: str = ""

    @property
    def subject(self) -> str:
        """Which credential's holder this is: `key:...` or `user:...`."""
        return f"key:{self.key_id}" if self.person is None else f"user:{self.person.user_id}"

    @property
    def actor(self) -> Actor:
        """Whom the audit names."""
        name = self.key_name if self.person is None else self.person.email
        return Actor(self.subject, name)

    def may(self, scope: Scope) -> bool:
        if self.person is not None:
            return self.person.may(scope)
        return not self.scopes.isdisjoint(OPENED_BY[scope])
