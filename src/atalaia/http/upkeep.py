"""What is written down a little later and in one go: when keys were used, and logins that failed.
And what was kept of keys and sessions for a moment is dropped.

Neither may cost a request a commit of its own, nor tell by its time whether an account exists. And
what goes after its time: answers that were kept to be given again, tickets that nobody used.
"""

import structlog
import trio

from atalaia.http.auth import Authenticator
from atalaia.http.sessions import Sessions
from atalaia.model.ids import SECOND_US, Micros
from atalaia.ports import StoreRefused, StoreUnavailable

log = structlog.get_logger()

EVERY_S = 5.0
LAST_S = 2.0
SWEEP_S = 60.0


async def run_upkeep(authenticator: Authenticator, shutdown: trio.Event) -> None:
    """Every few seconds until `shutdown`, and once more then."""
    sessions = authenticator.sessions
    if sessions is None:
        return
    swept_at = trio.current_time()
    while not shutdown.is_set():
        with trio.move_on_after(EVERY_S):
            await shutdown.wait()
        with trio.CancelScope(deadline=trio.current_time() + LAST_S, shield=shutdown.is_set()):
            await write_down(authenticator, sessions)
            if trio.current_time() - swept_at >= SWEEP_S and not shutdown.is_set():
                swept_at = trio.current_time()
                await forget(sessions)


async def forget(sessions: Sessions) -> None:
    """What is too old; where the database is away, the next time."""
    try:
        answers = await sessions.people.forget_answers()
        tickets = await sessions.people.forget_tickets()
    except (StoreUnavailable, StoreRefused) as error:
        log.warning("upkeep_failed", error=str(error))
    else:
        if answers or tickets:
            log.info("forgotten", answers=answers, tickets=tickets)


async def write_down(authenticator: Authenticator, sessions: Sessions) -> None:
    """What cannot be written now is tried again the next time."""
    authenticator.drop_stale()
    sessions.drop_stale()
    now, now_us = trio.current_time(), sessions.clock.now_us()
    used, authenticator.used = authenticator.used, {}
    failures, sessions.failures = sessions.failures, {}
    try:
        if used:
            await sessions.people.touch_keys(
                {key: Micros(now_us - round(SECOND_US * (now - at))) for key, at in used.items()}
            )
            used = {}
        if failures:
            await sessions.people.note_failures(failures)
            failures = {}
    except (StoreUnavailable, StoreRefused) as error:
        log.warning("upkeep_failed", error=str(error))
    finally:
        authenticator.used = used | authenticator.used
        for email, count in failures.items():
            sessions.failures[email] = sessions.failures.get(email, 0) + count
