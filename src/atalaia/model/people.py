"""Users, sessions, keys and tenants as the faces see them. Times are UTC epoch µs."""

from typing import Literal
from uuid import UUID

import attrs

from atalaia.model.ids import Micros, TenantNo
from atalaia.model.principal import Person, Role
from atalaia.model.quota import Quota

LinkPurpose = Literal["invitation", "reset"]


@attrs.frozen
class LoginRecord:
    """Whom an e-mail address stands for: who chose a password, and is not disabled."""

    tenant_no: TenantNo
    user_id: UUID
    email: str
    password_hash: str = attrs.field(repr=False)
    version: int
    suspended: bool


@attrs.frozen
class SessionRecord:
    """A living session. version: of the user's credentials; older tokens no longer hold."""

    tenant_no: TenantNo
    tenant_id: UUID
    person: Person
    version: int
    quota: Quota
    suspended: bool


@attrs.frozen
class NewSession:
    """A session as it begins. token_hash: of its first refresh token. address: whence it comes."""

    session_id: UUID
    token_hash: bytes
    lives_s: int
    address: str = ""


@attrs.frozen
class Rotation:
    """What a refresh token was exchanged for. left_s: how long the session may still live."""

    user_id: UUID
    session_id: UUID
    version: int
    left_s: int


@attrs.frozen
class NewLink:
    """A way to choose a password, and the mail that brings it."""

    text: str = attrs.field(repr=False)
    hash: bytes
    purpose: LinkPurpose
    lives_s: int


@attrs.frozen
class UserView:
    """A user, and whether they have chosen a password."""

    user_id: UUID
    email: str
    role: Role
    platform: bool
    has_password: bool
    created_at: Micros
    disabled_at: Micros | None
    last_login_at: Micros | None


@attrs.frozen
class KeyView:
    """An API key without its secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    readings_per_s: int | None
    bytes_per_s: int | None
    created_at: Micros
    expires_at: Micros | None
    last_used_at: Micros | None


@attrs.frozen
class TenantView:
    """A tenant, as who looks after all of them sees it."""

    tenant_no: TenantNo
    tenant_id: UUID
    name: str
    created_at: Micros
    suspended_at: Micros | None


@attrs.frozen
class AuditFilter:
    """actor: a subject, or the address that somebody had then. since, until: since < at <= until.
    None: all.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: Micros | None = None
    until: Micros | None = None


OfPeople = AuditFilter | Literal["users", "api_keys"]
"""What of these is listed in pages."""
