"""The outbox, by the functions that may: as `atalaia_platform`, which sees no table."""

import asyncpg

from atalaia.model.mail import MailEnd, QueuedMail
from atalaia.storage.tenants import become_aio

MOST_ERROR_CHARS = 500


async def expire_mails_aio(connection: asyncpg.Connection) -> int:
    await become_aio(connection, "atalaia_platform")
    return int(await connection.fetchval("SELECT expire_mails()"))


async def claim_mails_aio(
    connection: asyncpg.Connection, most: int, hold_s: int
) -> list[QueuedMail]:
    await become_aio(connection, "atalaia_platform")
    rows = await connection.fetch("SELECT * FROM claim_mails($1, $2)", most, hold_s)
    return [QueuedMail(*row) for row in rows]


async def end_mail_try_aio(
    connection: asyncpg.Connection,
    mail: QueuedMail,
    end: MailEnd | None,
    wait_s: int,
    error: str | None,
) -> None:
    await become_aio(connection, "atalaia_platform")
    await connection.execute(
        "SELECT end_mail_try($1, $2, $3, $4, $5, $6)",
        mail.tenant_no,
        mail.mail_id,
        mail.tries,
        end,
        wait_s,
        None if error is None else error[:MOST_ERROR_CHARS].replace("\0", ""),
    )
