"""The task that sends mails: from the outbox, where they were written with what they are about.

At least once: a mail that was taken when the connection broke goes again, under the same
Message-ID. Two processes never have the same one in hand. What the log says has no address in it.
"""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import structlog
import trio

from atalaia.config.mail import MailSettings
from atalaia.engine.beside import beside
from atalaia.engine.clock import WallClock
from atalaia.model.mail import MailEnd, QueuedMail
from atalaia.notify.letters import Unfit, write_mail
from atalaia.notify.smtp import Never, NotNow, Sending
from atalaia.people import Outbox
from atalaia.ports import StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import MAILS

log = structlog.get_logger()

LOOK_S = 3.0
AT_ONCE = 4
SEND_S = 60.0  # one mail, from connecting to the end
HOLD_S = 300  # no other process takes it for so long
MOST_TRIES = 10
FIRST_WAIT_S, LAST_WAIT_S = 30, 3_600


def wait_s(tries: int) -> int:
    """30 s, 2 min, 8 min, 32 min, then every hour."""
    return int(min(FIRST_WAIT_S * 4 ** (tries - 1), LAST_WAIT_S))


def delivering(
    outbox: Outbox, settings: MailSettings | None, clock: WallClock
) -> AbstractAsyncContextManager[None]:
    """Send while inside. Without a server mails wait, and are wiped when their links expire."""
    if settings is None:
        log.warning(
            "mails_are_not_sent",
            advice="SMTP_HOST is not set: invitations and links for new passwords wait in the "
            "outbox; whoever makes one sees it in the answer",
        )
    return beside(run_mails, outbox, settings, clock)


async def run_mails(outbox: Outbox, settings: MailSettings | None, clock: WallClock) -> None:
    """Look for mails to send, again and again. What fails is tried at the next look."""
    threads = trio.CapacityLimiter(AT_ONCE)
    while True:
        try:
            while await deliver(outbox, settings, clock, threads) == AT_ONCE:
                pass
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("mails_failed", error=str(error))
        await trio.sleep(LOOK_S)


async def deliver(
    outbox: Outbox,
    settings: MailSettings | None,
    clock: WallClock,
    threads: trio.CapacityLimiter | None = None,
) -> int:
    """Send what is due, a few at a time; returns how many were in hand."""
    MAILS.labels("expired").inc(await outbox.expire_mails())
    if settings is None:
        return 0
    mails = await outbox.claim_mails(AT_ONCE, HOLD_S)
    async with trio.open_nursery() as nursery:
        for mail in mails:
            nursery.start_soon(_try, outbox, settings, clock, mail, threads)
    return len(mails)


async def _try(
    outbox: Outbox,
    settings: MailSettings,
    clock: WallClock,
    mail: QueuedMail,
    threads: trio.CapacityLimiter | None,
) -> None:
    said = {"tenant_no": mail.tenant_no, "mail_id": str(mail.mail_id), "kind": mail.kind}
    now = datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC)
    end: MailEnd | None = "sent"
    error, after_s = None, 0
    try:
        await send(settings, mail, now, threads=threads)
    except (Never, Unfit) as refused:
        end, error = "dead", str(refused)
    except NotNow as refused:
        end, error = ("dead" if mail.tries >= MOST_TRIES else None), str(refused)
        after_s = wait_s(mail.tries)
    try:
        await outbox.end_mail_try(mail, end, wait_s=after_s, error=error)
    except (StoreUnavailable, StoreRefused) as fault:  # it is tried again when it is held no more
        log.warning("mail_not_noted", end=end, error=str(fault), **said)
    MAILS.labels(end or "put off").inc()
    match end:
        case "sent":
            log.info("mail_sent", tries=mail.tries, **said)
        case "dead":
            log.error("mail_is_dead", error=error, tries=mail.tries, **said)
        case None:
            log.warning("mail_put_off", error=error, tries=mail.tries, again_in_s=after_s, **said)


async def send(
    settings: MailSettings,
    mail: QueuedMail,
    now: datetime,
    *,
    deadline_s: float = SEND_S,
    threads: trio.CapacityLimiter | None = None,
) -> None:
    """Raises NotNow, also when it takes too long; Never, Unfit.

    threads: one that was left alone holds its place, too, until it ends.
    """
    message = write_mail(mail, settings.sender, settings.page, now, api=settings.public_url)
    sending = Sending(settings)
    try:
        with trio.fail_after(deadline_s):
            await trio.to_thread.run_sync(
                sending.send, message, mail.recipient, abandon_on_cancel=True, limiter=threads
            )
    except trio.TooSlowError as error:
        raise NotNow("it took too long") from error
    finally:
        sending.cut()  # a thread that was left alone ends at once
