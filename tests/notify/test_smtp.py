"""Mails reach a real server over TLS, and are told apart when they do not."""

import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import trio

from atalaia.config.mail import MailSettings, Tls
from atalaia.model.ids import TenantNo
from atalaia.model.mail import QueuedMail
from atalaia.notify.delivery import send
from atalaia.notify.letters import Unfit, write_mail
from atalaia.notify.smtp import Never, NotNow
from tests.notify.servers import PASSWORD, SENDER, bad_server, smtp_server

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TOKEN = "a-token-of-the-tests"


def mail(
    recipient: str = "ze@padaria.example", kind: str = "invitation", tenant: str = "Padaria do Zé"
) -> QueuedMail:
    params = {"token": TOKEN, "lives_s": 7 * 86_400}
    return QueuedMail(TenantNo(1), UUID(int=7), kind, recipient, params, 1, tenant)


@pytest.mark.parametrize("tls", ["starttls", "implicit", "none"])
async def test_a_mail_is_delivered(tls: Tls, tmp_path: Path) -> None:
    """Signed in, encrypted unless the server is here; in two languages, as text and as HTML."""
    with smtp_server(tls, tmp_path) as server:
        await send(server.settings, mail(), NOW)
    ((envelope, message),) = server.inbox.got
    assert len(server.inbox.logins) == 1
    assert (envelope.mail_from, envelope.rcpt_tos) == (SENDER.addr_spec, ["ze@padaria.example"])
    assert message["Subject"] == "Convite para Padaria do Zé"
    assert message["From"] == "Atalaia <no-reply@atalaia.example>"
    assert message["Message-ID"] == f"<{UUID(int=7)}@atalaia.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        text = part.get_content()
        assert TOKEN in text
        assert "convidado(a) para Padaria do Zé" in text
        assert "invited to Padaria do Zé" in text
        assert "7 dias" in text
        assert "7 days" in text


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_nothing_is_said_to_a_server_that_nobody_vouches_for(
    tls: Tls, tmp_path: Path
) -> None:
    """Neither with another authority nor under another name."""
    (tmp_path / "other").mkdir()
    with smtp_server(tls, tmp_path) as server, smtp_server(tls, tmp_path / "other") as other:
        known = server.settings
        for settings in (
            attrs.evolve(known, ca_file=other.settings.ca_file),
            attrs.evolve(known, ca_file=None),
            attrs.evolve(known, host="localhost"),
        ):
            with pytest.raises(NotNow, match="CERTIFICATE_VERIFY_FAILED"):
                await send(settings, mail(), NOW)
    assert server.inbox.got == []


async def test_a_server_that_takes_tls_away_hears_nothing(tmp_path: Path) -> None:
    """Neither password nor link goes in the clear because somebody in between says so."""
    heard = []

    def behave(near: socket.socket) -> None:
        near.sendall(b"220 here\r\n")
        while data := near.recv(4096):
            heard.append(data)
            answers = {b"ehlo": b"250-here\r\n250 AUTH PLAIN\r\n", b"data": b"354 go on\r\n"}
            near.sendall(answers.get(data[:4].lower(), b"250 no tls, sorry\r\n"))

    with bad_server(behave) as settings:
        for user, password in ((None, None), ("u", "a secret")):
            strict = attrs.evolve(settings, tls="starttls", user=user, password=password)
            with pytest.raises(NotNow):
                await send(strict, mail(), NOW)
    said = b"".join(heard)
    assert said.startswith(b"ehlo")
    assert b"AUTH" not in said
    assert TOKEN.encode() not in said


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [
        ("RCPT", "550 no such user", Never),
        ("RCPT", "451 greylisted", NotNow),
        ("DATA", "554 this is spam", Never),
        ("DATA", "452 disk full", NotNow),
        ("MAIL", "421 busy", NotNow),
        ("MAIL", "550 this sender may not", NotNow),
    ],
)
async def test_what_a_server_refuses_is_tried_again_or_not(
    command: str, answer: str, kind: type[Exception], tmp_path: Path
) -> None:
    """4xx is for now. 5xx is for good where it is about this mail; where it is about us, somebody
    has to set it right, and then it goes.
    """
    with smtp_server("none", tmp_path) as server:
        server.inbox.says[command] = answer
        with pytest.raises(kind) as refused:
            await send(server.settings, mail(), NOW)
    assert "ze@padaria.example" not in str(refused.value)
    assert server.inbox.got == []


async def test_a_wrong_password_is_not_the_mails_fault(tmp_path: Path) -> None:
    """And is in no message of ours."""
    with smtp_server("starttls", tmp_path) as server:
        wrong = attrs.evolve(server.settings, password="another password")
        with pytest.raises(NotNow, match="SMTPAuthenticationError: 535") as refused:
            await send(wrong, mail(), NOW)
    assert "another password" not in str(refused.value)
    assert PASSWORD not in repr(server.settings)


async def test_nobody_there_and_a_connection_that_breaks_are_for_now() -> None:
    """At whichever step; also when it breaks before the mail was taken."""

    def hang_up(near: socket.socket) -> None:
        near.close()

    def break_in_data(near: socket.socket) -> None:
        near.sendall(b"220 here\r\n")
        for _ in range(3):
            near.recv(4096)
            near.sendall(b"250 OK\r\n")
        near.recv(4096)
        near.sendall(b"354 go on\r\n")
        near.recv(4096)

    def babble(near: socket.socket) -> None:
        near.sendall(b"\x00\xff what is this\r\n" * 100)

    for behave in (hang_up, break_in_data, babble):
        with bad_server(behave) as settings, pytest.raises(NotNow):
            await send(settings, mail(), NOW)
    with pytest.raises(NotNow):
        await send(settings, mail(), NOW)


async def test_a_slow_server_is_not_waited_for_for_ever() -> None:
    """One that says a byte now and then does not hold the thread beyond the deadline of it all."""
    over = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def drip(near: socket.socket) -> None:
        near.settimeout(0.05)
        try:
            while True:
                near.sendall(b"2")
                with suppress(TimeoutError):
                    if near.recv(1) == b"":
                        break
        finally:
            token.run_sync_soon(over.set)

    with bad_server(drip) as settings:
        began = trio.current_time()
        with pytest.raises(NotNow, match="too long"):
            await send(settings, mail(), NOW, deadline_s=0.5)
        assert trio.current_time() - began < 5
        with trio.fail_after(5):
            await over.wait()


@pytest.mark.parametrize(
    "recipient",
    [
        "ze@x.example\r\nBcc: all@x.example",
        "ze@x.example\nSubject: hello",
        "ze@x.example, all@x.example",
        "ze@x.example> SIZE=1 <",
        "<ze@x.example>",
        "ze",
        "",
        "@",
        "a b@x.example",
    ],
)
async def test_an_address_brings_nothing_but_an_address(recipient: str, tmp_path: Path) -> None:
    """Whatever came into the outbox: nobody else gets a mail, and no header is added."""
    with smtp_server("none", tmp_path) as server, pytest.raises((Unfit, Never)):
        await send(server.settings, mail(recipient), NOW)
    assert server.inbox.got == []


@pytest.mark.parametrize(
    "tenant",
    [
        "Zé\r\nBcc: all@x.example",
        "<script>alert(1)</script>",
        "{token}",
        "x" * 5_000,
        "=?",
        "=?utf-8?q?a=0D=0ABcc:=20all=40x.example?=",
        "=?utf-8?q?=0D=0A=0D=0AOh?=",
    ],
)
async def test_a_tenants_name_is_words_and_nothing_else(tenant: str, tmp_path: Path) -> None:
    """In the subject as in the text: no header, no markup, no place to be filled in."""
    with smtp_server("none", tmp_path) as server:
        await send(server.settings, mail(tenant=tenant), NOW)
    ((envelope, message),) = server.inbox.got
    assert envelope.rcpt_tos == ["ze@padaria.example"]
    assert message["Bcc"] is None
    assert message["MIME-Version"] == "1.0"
    assert len(message["Subject"]) <= 120
    page = message.get_body(("html",))
    assert page is not None
    assert "<script>" not in page.get_content()
    assert page.get_content().count(TOKEN) == 2


def test_the_page_is_told_by_a_fragment() -> None:
    """Which goes to no server, and so into no log."""
    message = write_mail(mail(kind="reset"), SENDER, "https://app.example.com/p?x=1", NOW)
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        assert f"https://app.example.com/p?x=1#token={TOKEN}" in part.get_content()
    with pytest.raises(Unfit):
        write_mail(attrs.evolve(mail(), params={}), SENDER, None, NOW)


@pytest.mark.parametrize("kind", ["invitation", "reset"])
def test_who_has_no_page_is_told_where_the_token_goes(kind: str) -> None:
    """To the address that clients know, and of what service it is."""
    message = write_mail(mail(kind=kind), SENDER, None, NOW, api="https://api.example.com/")
    for part_kind in ("plain", "html"):
        part = message.get_body((part_kind,))
        assert part is not None
        text = part.get_content()
        assert text.count("POST https://api.example.com/v1/auth/password/reset:") == 2
        assert text.count("Atalaia") == 2


def test_settings_are_not_shown() -> None:
    """Secrets in them, that is."""
    settings = MailSettings("h", 587, SENDER, user="u", password="a secret")
    assert "a secret" not in repr(settings)
    assert TOKEN not in repr(mail())
    assert "padaria.example" not in repr(mail())
