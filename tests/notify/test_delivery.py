"""From an invitation, or a forgotten password, to a mail: once, and nothing is left to read."""

from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from atalaia.config.mail import MailSettings
from atalaia.engine.clock import SystemClock
from atalaia.http.login import make_link
from atalaia.model.audit import Actor
from atalaia.notify import delivery
from atalaia.notify.delivery import MOST_TRIES, deliver, delivering, wait_s
from tests.notify.servers import SENDER, Server, smtp_server
from tests.people import add_user, client, post
from tests.stack import Stack, make_tenant

pytestmark = pytest.mark.postgres

EMAIL = "maria@example.org"
CHOSEN = "seven grey herons fly"
NOWHERE = MailSettings("127.0.0.1", 1, SENDER, "none")


async def send_all(stack: Stack, settings: MailSettings | None) -> int:
    return await deliver(stack.sessions.people, settings, SystemClock())


async def invite(stack: Stack, email: str = EMAIL) -> str:
    """The token of the link that the answer shows."""
    made = await stack.client.post("/v1/users", json={"email": email})
    assert made.status_code == 201, made.text
    return str(made.json()["link"]["token"])


async def rows(stack: Stack) -> list[dict[str, Any]]:
    return await stack.sql(
        "SELECT outcome, tries, params::text AS params, last_error, ended_at IS NOT NULL AS ended,"
        " round(extract(epoch FROM next_try_at - now())) AS wait_s FROM outbox_mails"
    )


def token_in(server: Server) -> str:
    ((_, message),) = server.inbox.got
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).split("/v1/auth/password/reset:")[1].split()[0]


async def test_an_invitation_arrives_and_is_wiped(stack: Stack, tmp_path: Path) -> None:
    """The mail's link opens the account; what was sent can be read nowhere any more."""
    token = await invite(stack)
    with smtp_server("starttls", tmp_path) as server:
        assert await send_all(stack, server.settings) == 1
        assert await send_all(stack, server.settings) == 0
        assert token_in(server) == token
    (row,) = await rows(stack)
    assert (row["outcome"], row["tries"], row["params"], row["ended"]) == ("sent", 1, "{}", True)
    chosen = {"token": token, "password": CHOSEN}
    assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 204


async def test_a_forgotten_password_arrives(stack: Stack, tmp_path: Path) -> None:
    """At whose account it is, and nobody is told whether there is one."""
    await add_user(stack, EMAIL)
    for email in (EMAIL, "nobody@example.org"):
        assert (await post(stack, "/v1/auth/password/forgot", {"email": email})).status_code == 202
    with smtp_server("implicit", tmp_path) as server:
        assert await send_all(stack, server.settings) == 1
        chosen = {"token": token_in(server), "password": CHOSEN}
        ((envelope, message),) = server.inbox.got
    assert envelope.rcpt_tos == [EMAIL]
    assert "Nova senha" in message["Subject"]
    assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 204


async def test_what_cannot_be_now_is_tried_again_and_then_given_up(stack: Stack) -> None:
    """Later each time; a person can see what became of it, in the log too, and no address there."""
    await invite(stack)
    with structlog.testing.capture_logs() as said:
        for tries in range(1, MOST_TRIES + 1):
            assert await send_all(stack, NOWHERE) == 1
            (row,) = await rows(stack)
            assert row["tries"] == tries
            if tries < MOST_TRIES:
                assert (row["outcome"], int(row["wait_s"])) == (None, wait_s(tries))
                assert "token" in row["params"]
                assert await send_all(stack, NOWHERE) == 0, "not yet"
            await stack.sql("UPDATE outbox_mails SET next_try_at = now()")
    assert (row["outcome"], row["params"]) == ("dead", "{}")
    assert "ConnectionRefusedError" in row["last_error"]
    assert await send_all(stack, NOWHERE) == 0
    assert [line["event"] for line in said].count("mail_put_off") == MOST_TRIES - 1
    (dead,) = [line for line in said if line["event"] == "mail_is_dead"]
    assert dead["log_level"] == "error"
    assert EMAIL not in repr(said)


async def test_who_is_refused_for_good_is_not_asked_again(stack: Stack, tmp_path: Path) -> None:
    """Others are not held up by it."""
    await invite(stack)
    with smtp_server("none", tmp_path) as server:
        server.inbox.says["RCPT"] = "550 no such user"
        await send_all(stack, server.settings)
        (row,) = await rows(stack)
        assert (row["outcome"], row["tries"]) == ("dead", 1)
        assert row["last_error"] == "recipient refused: 550"
        server.inbox.says.clear()
        await invite(stack, "other@example.org")
        assert await send_all(stack, server.settings) == 1
        assert len(server.inbox.got) == 1


async def test_two_processes_send_one_mail_once(stack: Stack, tmp_path: Path) -> None:
    """And one that comes back after its time changes nothing of what the other did."""
    for n in range(6):
        await invite(stack, f"u{n}@example.org")
    with smtp_server("none", tmp_path) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(send_all, stack, server.settings)
        await send_all(stack, server.settings)
        sent = sorted(envelope.rcpt_tos[0] for envelope, _ in server.inbox.got)
    assert sent == [f"u{n}@example.org" for n in range(6)]
    people = stack.sessions.people
    await invite(stack, "late@example.org")
    (slow,) = await people.claim_mails(4, 300)
    assert await people.claim_mails(4, 300) == []
    await stack.sql("UPDATE outbox_mails SET next_try_at = now() WHERE outcome IS NULL")
    (quick,) = await people.claim_mails(4, 300)
    await people.end_mail_try(quick, "sent")
    await people.end_mail_try(slow, None, wait_s=0, error="too late")
    assert await people.claim_mails(4, 300) == []
    assert [row["last_error"] for row in await rows(stack) if row["last_error"]] == []


async def test_tenants_take_turns(stack: Stack) -> None:
    """However many mails one of them has written before."""
    for n in range(8):
        await invite(stack, f"u{n}@example.org")
    key = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": key}) as other:
        made = await other.post("/v1/users", json={"email": "only@example.com"})
        assert made.status_code == 201
    claimed = await stack.sessions.people.claim_mails(2, 300)
    assert {mail.recipient for mail in claimed} == {"u0@example.org", "only@example.com"}


async def test_a_link_that_holds_no_more_is_wiped_and_not_sent(
    stack: Stack, tmp_path: Path
) -> None:
    """Also where there is no server to send anything."""
    await invite(stack)
    await stack.sql("UPDATE outbox_mails SET created_at = now() - interval '31 days'")
    assert await send_all(stack, None) == 0
    (row,) = await rows(stack)
    assert (row["outcome"], row["params"]) == ("expired", "{}")
    with smtp_server("none", tmp_path) as server:
        await send_all(stack, server.settings)
        assert server.inbox.got == []
    await stack.sql("UPDATE outbox_mails SET ended_at = now() - interval '31 days'")
    await send_all(stack, None)
    assert await rows(stack) == []


async def test_nothing_is_sent_for_a_suspended_tenant(stack: Stack, tmp_path: Path) -> None:
    """Until it is resumed."""
    await invite(stack)
    await stack.sql("UPDATE tenants SET suspended_at = now()")
    with smtp_server("none", tmp_path) as server:
        assert await send_all(stack, server.settings) == 0
        await stack.sql("UPDATE tenants SET suspended_at = NULL")
        assert await send_all(stack, server.settings) == 1


async def test_without_a_server_the_start_says_so(stack: Stack) -> None:
    """Once, with what to do; mails wait."""
    await invite(stack)
    with structlog.testing.capture_logs() as said:
        async with delivering(stack.sessions.people, None, SystemClock()):
            await trio.sleep(0.1)
    (line,) = [line for line in said if line["event"] == "mails_are_not_sent"]
    assert "SMTP_HOST" in line["advice"]
    (row,) = await rows(stack)
    assert (row["outcome"], row["tries"]) == (None, 0)


async def test_the_task_sends_by_itself(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as one is written."""
    monkeypatch.setattr(delivery, "LOOK_S", 0.05)
    people = stack.sessions.people
    with smtp_server("none", tmp_path) as server:
        async with delivering(people, server.settings, SystemClock()):
            await people.send_link(
                await stack.tenant_no(),
                await add_user(stack, EMAIL),
                make_link("reset"),
                Actor("test"),
            )
            with trio.fail_after(10):
                while not server.inbox.got:
                    await trio.sleep(0.01)
    assert [envelope.rcpt_tos for envelope, _ in server.inbox.got] == [[EMAIL]]
