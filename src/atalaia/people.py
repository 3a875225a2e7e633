"""What the faces ask of and do to users, sessions, keys, tenants and the audit.

`storage` implements it on Postgres. Whatever is done writes its audit entry in its own transaction.
Everything raises StoreUnavailable (`atalaia.ports`) when the database does not answer.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from atalaia.model.audit import Actor, AuditEntry, AuditRow, ChainHead
from atalaia.model.erasure import Begun, ErasureView
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.mail import MailEnd, QueuedMail
from atalaia.model.people import (
    AuditFilter,
    KeyView,
    LoginRecord,
    NewLink,
    NewSession,
    OfPeople,
    Rotation,
    SessionRecord,
    TenantView,
    UserView,
)
from atalaia.model.principal import Role
from atalaia.model.repeats import Claim, Claimed
from atalaia.model.tickets import TicketHolder
from atalaia.security.api_keys import NewKey


class Logins(Protocol):
    """Sessions, and what begins and ends them. Before any tenant is known, but for the last."""

    async def find_login(self, email: str) -> LoginRecord | None:
        """A user who may sign in."""
        ...

    async def find_session(self, session_id: UUID) -> SessionRecord | None:
        """A session that has neither ended nor been revoked, of a user who is not disabled."""
        ...

    async def begin_session(
        self, login: LoginRecord, session: NewSession, rehashed: str | None
    ) -> bool:
        """False: the user is not any more as the login says. rehashed: the password's hash, where
        it is to be replaced by one at today's cost.
        """
        ...

    async def rotate(self, token_hash: bytes, next_hash: bytes) -> Rotation | None:
        """Exchange a refresh token. None: it does not hold, or was used already; then its session
        is revoked, unless it is asked for once more at once and nothing has come of it yet.

        Raises Suspended, and the token is not used up.
        """
        ...

    async def end_session(self, token_hash: bytes) -> None:
        """Revoke the session of a refresh token, if there is one."""
        ...

    async def ask_reset(self, email: str, link: NewLink) -> None:
        """Put a mail with the link into the outbox, if there is such a user."""
        ...

    async def link_owner(self, link_hash: bytes) -> str | None:
        """The e-mail address of whom a living link belongs to."""
        ...

    async def use_link(self, link_hash: bytes, password_hash: str) -> bool:
        """Give the link's user this password and end all sessions; False: it does not hold.

        Raises Conflict where the address signs in to another tenant.
        """
        ...

    async def note_failures(self, emails: Mapping[str, int]) -> None:
        """Write down how many logins failed since, of those that are somebody's."""
        ...

    async def set_password(
        self, tenant_no: TenantNo, user_id: UUID, password_hash: str, by: Actor
    ) -> None:
        """And end all sessions of the user."""
        ...


class Totals(Protocol):
    """How many there are of what is listed."""

    async def total(self, tenant_no: TenantNo, of: OfPeople) -> int: ...


class Users(Totals, Protocol):
    """The users of one tenant."""

    async def list_users(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[UserView]:
        """By e-mail address, beyond `after`."""
        ...

    async def user(self, tenant_no: TenantNo, user_id: UUID) -> UserView | None: ...

    async def invite(
        self, tenant_no: TenantNo, email: str, role: Role, link: NewLink, by: Actor
    ) -> UserView:
        """Raises Conflict when the tenant has this address, or for one user too many."""
        ...

    async def send_link(
        self, tenant_no: TenantNo, user_id: UUID, link: NewLink, by: Actor
    ) -> UserView | None:
        """A new link for a user, in the place of all before it. None: there is no such user.

        Raises Conflict for one who is disabled.
        """
        ...

    async def change_user(
        self,
        tenant_no: TenantNo,
        user_id: UUID,
        *,
        role: Role | None,
        disabled: bool | None,
        by: Actor,
    ) -> UserView | None:
        """Ends all sessions of the user where something changes. Raises Conflict for the last
        administrator.
        """
        ...

    async def delete_user(self, tenant_no: TenantNo, user_id: UUID, by: Actor) -> bool:
        """Whether there was one. Raises Conflict for the last administrator."""
        ...


class Keys(Totals, Protocol):
    """The API keys of one tenant."""

    async def list_keys(self, tenant_no: TenantNo, *, after: str, limit: int) -> Sequence[KeyView]:
        """Those that are not revoked, by id."""
        ...

    async def key(self, tenant_no: TenantNo, key_id: str) -> KeyView | None: ...

    async def create_key(
        self,
        tenant_no: TenantNo,
        key: NewKey,
        name: str,
        scopes: Sequence[str],
        expires_at: Micros | None,
        by: Actor,
    ) -> KeyView:
        """Raises Conflict for one key too many."""
        ...

    async def rotate_key(
        self, tenant_no: TenantNo, key_id: str, key: NewKey, overlap_s: int, by: Actor
    ) -> KeyView | None:
        """Another key in the place of one, which goes on for that long. None: there is no such."""
        ...

    async def revoke_key(self, tenant_no: TenantNo, key_id: str, by: Actor) -> bool:
        """Whether there was one."""
        ...

    async def touch_keys(self, used: Mapping[str, Micros]) -> None:
        """When keys, of any tenants, were used last."""
        ...


class Audit(Totals, Protocol):
    """What was written down."""

    async def record(self, tenant_no: TenantNo, entry: AuditEntry) -> None:
        """Write down what changes nothing by itself."""
        ...

    async def heads(self) -> Sequence[ChainHead]:
        """Where the chains of all tenants end."""
        ...

    async def audit(
        self, tenant_no: TenantNo, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        """Newest first, before that place in the chain."""
        ...


class Tenants(Protocol):
    """All tenants, for those who look after them."""

    async def list_tenants(self, *, after: int, limit: int) -> Sequence[TenantView]:
        """In the order of their creation."""
        ...

    async def count_tenants(self) -> int: ...

    async def tenant(self, tenant_id: UUID) -> TenantView | None: ...

    async def create_tenant(
        self, tenant_id: UUID, name: str, admin_email: str, link: NewLink, by: Actor
    ) -> TenantView:
        """With the invitation of its first administrator. Raises Conflict."""
        ...

    async def suspend(self, tenant_id: UUID, *, suspended: bool, by: Actor) -> TenantView | None:
        """Suspend a tenant, or resume it. None: there is no such tenant."""
        ...


class Repeats(Protocol):
    """Requests that are to be carried out once, however often they are sent."""

    async def claim(self, tenant_no: TenantNo, wanted: Claim, *, lapses_s: int) -> Claimed | None:
        """Take a request on, once for its key. None: it is ours, for that long; else what there
        is. Raises Overloaded for one too many.
        """
        ...

    async def keep_answer(self, tenant_no: TenantNo, held: Claim, answer: bytes) -> bool:
        """For a day from the claim on. Whether the claim was still held."""
        ...

    async def release(self, tenant_no: TenantNo, held: Claim) -> None:
        """Nothing was done: the key is free for any request."""
        ...

    async def forget_answers(self) -> int:
        """Drop some that are a day old, of any tenants; how many."""
        ...


class Tickets(Protocol):
    """What browsers show once."""

    async def issue_ticket(
        self, tenant_no: TenantNo, ticket_hash: bytes, holder: TicketHolder, *, lives_s: int
    ) -> None:
        """Raises Busy for one too many."""
        ...

    async def use_ticket(self, ticket_hash: bytes) -> TicketHolder | None:
        """Whose it was; nobody finds it any more. None: it does not hold."""
        ...

    async def forget_tickets(self) -> int:
        """Drop some that nobody used in time, of any tenants; how many."""
        ...


class Erasures(Protocol):
    """Tenants of which nothing is to be left."""

    async def begin_erasure(self, tenant_id: UUID, name: str, by: Actor) -> Begun:
        """From here on nothing is stored for the tenant, and there is no way back.

        name: the tenant's, said once more.
        """
        ...

    async def erasure(self, tenant_id: UUID) -> ErasureView | None: ...

    async def list_erasures(self) -> Sequence[ErasureView]:
        """Those under way, and those that ended within the last hour."""
        ...

    async def erase_some(self, tenant_id: UUID) -> bool:
        """Delete the next bounded part. True: nothing is left."""
        ...


class Outbox(Protocol):
    """Mails that were written and are not sent yet, of all tenants."""

    async def expire_mails(self) -> int:
        """Wipe those whose links hold no more; how many."""
        ...

    async def claim_mails(self, most: int, hold_s: int) -> Sequence[QueuedMail]:
        """Take some in hand, for so long, none that somebody else has."""
        ...

    async def end_mail_try(
        self, mail: QueuedMail, end: MailEnd | None, *, wait_s: int = 0, error: str | None = None
    ) -> None:
        """What became of it; what is in it is wiped. None: it is tried again after `wait_s`.
        Nothing, where somebody else has taken it in hand since.
        """
        ...


class Archives(Protocol):
    """All of a tenant, to be taken away."""

    def archive(self, tenant_no: TenantNo, now: Micros) -> AsyncGenerator[bytes, None]:
        """A ZIP archive of one moment, piece by piece; now: the time to write into it.

        Raises Conflict before the first piece where the tenant is being erased.
        """
        ...


class People(
    Logins, Users, Keys, Audit, Tenants, Repeats, Tickets, Erasures, Archives, Outbox, Protocol
):
    """All of it."""
