"""SMTP servers for tests: a real one that keeps what it is given, and ones that behave badly."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from pathlib import Path
from typing import Any

import attrs
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from atalaia.config.mail import MailSettings, Tls

USER, PASSWORD = "apikey", "a password of the tests"
SENDER = Address("Atalaia", addr_spec="no-reply@atalaia.example")


@attrs.define(eq=False)
class Inbox:
    """Takes what it is told to; says: per command, the answer instead of 250."""

    says: dict[str, str] = attrs.field(factory=dict)
    got: list[tuple[Envelope, EmailMessage]] = attrs.field(factory=list)
    logins: list[object] = attrs.field(factory=list)

    def log_in(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins.append(data)
        right = LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=data == right, handled=False)

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.says.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.says.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if "DATA" in self.says:
            return self.says["DATA"]
        content = envelope.original_content or b""
        parsed: Any = message_from_bytes(content, policy=POLICY)
        self.got.append((envelope, parsed))
        return "250 OK"


@attrs.frozen(eq=False)
class Server:
    """A running one, and how it is reached."""

    inbox: Inbox
    settings: MailSettings


@contextmanager
def smtp_server(tls: Tls, directory: Path) -> Iterator[Server]:
    """With a certificate of an authority that nobody knows but who reads its file."""
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    inbox = Inbox()
    options: dict[str, Any] = {"authenticator": inbox.log_in, "auth_require_tls": False}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True, "auth_require_tls": True}
    elif tls == "implicit":
        options |= {"ssl_context": context}
    controller = Controller(inbox, hostname="127.0.0.1", port=_free_port(), **options)
    controller.start()
    try:
        settings = MailSettings(
            "127.0.0.1", controller.port, SENDER, tls,
            USER, PASSWORD, ca_file,
        )  # fmt: skip
        yield Server(inbox, settings)
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bad_server(behave: Callable[[socket.socket], None]) -> Iterator[MailSettings]:
    """Does with every connection what it is told to."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    taken: list[socket.socket] = []

    def serve() -> None:
        while not ended.is_set():
            try:
                near, _ = listener.accept()
            except OSError:
                return
            taken.append(near)
            with near, suppress(OSError):
                behave(near)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield MailSettings("127.0.0.1", listener.getsockname()[1], SENDER, "none")
    finally:
        ended.set()
        for sock in (listener, *taken):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
