"""Users, sessions, keys, the audit and tenants in Postgres; each call is one transaction."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from uuid import UUID

import attrs

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
from atalaia.storage import audit, erasure, keys, mails, repeats, sessions, tenants, tickets, users
from atalaia.storage.archive import archive
from atalaia.storage.database import Database
from atalaia.storage.queries import NO_TENANT
from atalaia.storage.totals import total_aio


@attrs.define(eq=False)
class PostgresPeople:
    """Implements `People`."""

    _database: Database

    async def find_login(self, email: str) -> LoginRecord | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.find_login_aio(connection, email)
        )

    async def find_session(self, session_id: UUID) -> SessionRecord | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.find_session_aio(connection, session_id)
        )

    async def begin_session(
        self, login: LoginRecord, session: NewSession, rehashed: str | None
    ) -> bool:
        return await self._database.as_tenant(
            login.tenant_no,
            lambda connection: sessions.begin_session_aio(connection, login, session, rehashed),
        )

    async def rotate(self, token_hash: bytes, next_hash: bytes) -> Rotation | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.rotate_aio(connection, token_hash, next_hash)
        )

    async def end_session(self, token_hash: bytes) -> None:
        await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.end_session_aio(connection, token_hash)
        )

    async def ask_reset(self, email: str, link: NewLink) -> None:
        await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.ask_reset_aio(connection, email, link)
        )

    async def link_owner(self, link_hash: bytes) -> str | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.link_owner_aio(connection, link_hash)
        )

    async def use_link(self, link_hash: bytes, password_hash: str) -> bool:
        return await self._database.as_tenant(
            NO_TENANT,
            lambda connection: sessions.use_link_aio(connection, link_hash, password_hash),
        )

    async def note_failures(self, emails: Mapping[str, int]) -> None:
        await self._database.as_tenant(
            NO_TENANT, lambda connection: sessions.note_failures_aio(connection, emails)
        )

    async def set_password(
        self, tenant_no: TenantNo, user_id: UUID, password_hash: str, by: Actor
    ) -> None:
        await self._database.as_tenant(
            tenant_no,
            lambda connection: sessions.set_password_aio(
                connection, tenant_no, user_id, password_hash, by
            ),
        )

    async def list_users(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[UserView]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: users.list_users_aio(connection, after, limit)
        )

    async def user(self, tenant_no: TenantNo, user_id: UUID) -> UserView | None:
        return await self._database.as_tenant(
            tenant_no, lambda connection: users.user_aio(connection, user_id)
        )

    async def invite(
        self, tenant_no: TenantNo, email: str, role: Role, link: NewLink, by: Actor
    ) -> UserView:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: users.invite_aio(connection, tenant_no, email, role, link, by),
        )

    async def send_link(
        self, tenant_no: TenantNo, user_id: UUID, link: NewLink, by: Actor
    ) -> UserView | None:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: users.send_link_aio(connection, tenant_no, user_id, link, by),
        )

    async def change_user(
        self,
        tenant_no: TenantNo,
        user_id: UUID,
        *,
        role: Role | None,
        disabled: bool | None,
        by: Actor,
    ) -> UserView | None:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: users.change_user_aio(
                connection, tenant_no, user_id, role, disabled, by
            ),
        )

    async def delete_user(self, tenant_no: TenantNo, user_id: UUID, by: Actor) -> bool:
        return await self._database.as_tenant(
            tenant_no, lambda connection: users.delete_user_aio(connection, tenant_no, user_id, by)
        )

    async def list_keys(self, tenant_no: TenantNo, *, after: str, limit: int) -> Sequence[KeyView]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: keys.list_keys_aio(connection, after, limit)
        )

    async def key(self, tenant_no: TenantNo, key_id: str) -> KeyView | None:
        return await self._database.as_tenant(
            tenant_no, lambda connection: keys.key_aio(connection, key_id)
        )

    async def create_key(
        self,
        tenant_no: TenantNo,
        key: NewKey,
        name: str,
        scopes: Sequence[str],
        expires_at: Micros | None,
        by: Actor,
    ) -> KeyView:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: keys.create_key_aio(
                connection, tenant_no, key, name, scopes, expires_at, by
            ),
        )

    async def rotate_key(
        self, tenant_no: TenantNo, key_id: str, key: NewKey, overlap_s: int, by: Actor
    ) -> KeyView | None:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: keys.rotate_key_aio(
                connection, tenant_no, key_id, key, overlap_s, by
            ),
        )

    async def revoke_key(self, tenant_no: TenantNo, key_id: str, by: Actor) -> bool:
        return await self._database.as_tenant(
            tenant_no, lambda connection: keys.revoke_key_aio(connection, tenant_no, key_id, by)
        )

    async def touch_keys(self, used: Mapping[str, Micros]) -> None:
        await self._database.as_tenant(
            NO_TENANT, lambda connection: keys.touch_keys_aio(connection, used)
        )

    async def record(self, tenant_no: TenantNo, entry: AuditEntry) -> None:
        await self._database.as_tenant(
            tenant_no, lambda connection: audit.write_entry_aio(connection, tenant_no, entry)
        )

    async def heads(self) -> Sequence[ChainHead]:
        return await self._database.as_writer(audit.heads_aio)

    async def audit(
        self, tenant_no: TenantNo, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: audit.audit_aio(connection, wanted, before, limit)
        )

    async def list_tenants(self, *, after: int, limit: int) -> Sequence[TenantView]:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: tenants.list_tenants_aio(connection, after, limit)
        )

    async def tenant(self, tenant_id: UUID) -> TenantView | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: tenants.tenant_aio(connection, tenant_id)
        )

    async def create_tenant(
        self, tenant_id: UUID, name: str, admin_email: str, link: NewLink, by: Actor
    ) -> TenantView:
        return await self._database.as_tenant(
            NO_TENANT,
            lambda connection: tenants.create_tenant_aio(
                connection, tenant_id, name, admin_email, link, by
            ),
        )

    async def suspend(self, tenant_id: UUID, *, suspended: bool, by: Actor) -> TenantView | None:
        return await self._database.as_tenant(
            NO_TENANT,
            lambda connection: tenants.suspend_aio(connection, tenant_id, suspended, by),
        )

    async def claim(self, tenant_no: TenantNo, wanted: Claim, *, lapses_s: int) -> Claimed | None:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: repeats.claim_aio(connection, tenant_no, wanted, lapses_s),
        )

    async def keep_answer(self, tenant_no: TenantNo, held: Claim, answer: bytes) -> bool:
        return await self._database.as_tenant(
            tenant_no, lambda connection: repeats.keep_aio(connection, held, answer)
        )

    async def release(self, tenant_no: TenantNo, held: Claim) -> None:
        await self._database.as_tenant(
            tenant_no, lambda connection: repeats.release_aio(connection, held)
        )

    async def forget_answers(self) -> int:
        return await self._database.as_tenant(NO_TENANT, repeats.forget_aio)

    async def issue_ticket(
        self, tenant_no: TenantNo, ticket_hash: bytes, holder: TicketHolder, *, lives_s: int
    ) -> None:
        await self._database.as_tenant(
            tenant_no,
            lambda connection: tickets.issue_ticket_aio(
                connection, tenant_no, ticket_hash, holder, lives_s
            ),
        )

    async def use_ticket(self, ticket_hash: bytes) -> TicketHolder | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: tickets.use_ticket_aio(connection, ticket_hash)
        )

    async def forget_tickets(self) -> int:
        return await self._database.as_tenant(NO_TENANT, tickets.forget_tickets_aio)

    async def total(self, tenant_no: TenantNo, of: OfPeople) -> int:
        return await self._database.as_tenant(
            tenant_no, lambda connection: total_aio(connection, of)
        )

    async def count_tenants(self) -> int:
        return await self._database.as_tenant(NO_TENANT, tenants.count_tenants_aio)

    async def begin_erasure(self, tenant_id: UUID, name: str, by: Actor) -> Begun:
        return await self._database.as_tenant(
            NO_TENANT,
            lambda connection: erasure.begin_erasure_aio(connection, tenant_id, name, by),
        )

    async def erasure(self, tenant_id: UUID) -> ErasureView | None:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: erasure.erasure_aio(connection, tenant_id)
        )

    async def list_erasures(self) -> Sequence[ErasureView]:
        return await self._database.as_tenant(NO_TENANT, erasure.list_erasures_aio)

    async def erase_some(self, tenant_id: UUID) -> bool:
        return await self._database.as_tenant(
            NO_TENANT,
            lambda connection: erasure.erase_some_aio(connection, tenant_id),
            timeout_ms=erasure.STEP_TIMEOUT_MS,
        )

    async def archive(self, tenant_no: TenantNo, now: Micros) -> AsyncGenerator[bytes, None]:
        async with (
            self._database.snapshot(tenant_no) as snapshot,
            aclosing(archive(snapshot, now)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def expire_mails(self) -> int:
        return await self._database.as_tenant(NO_TENANT, mails.expire_mails_aio)

    async def claim_mails(self, most: int, hold_s: int) -> Sequence[QueuedMail]:
        return await self._database.as_tenant(
            NO_TENANT, lambda connection: mails.claim_mails_aio(connection, most, hold_s)
        )

    async def end_mail_try(
        self, mail: QueuedMail, end: MailEnd | None, *, wait_s: int = 0, error: str | None = None
    ) -> None:
        await self._database.as_tenant(
            NO_TENANT,
            lambda connection: mails.end_mail_try_aio(connection, mail, end, wait_s, error),
        )
