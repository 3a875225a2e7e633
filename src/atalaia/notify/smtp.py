"""One mail to the server that delivers it: in a thread, and in bounded time.

Nothing is said before the connection is encrypted, but to a server on this machine. What cannot be
now is told apart from what will never be: the first is tried again.
"""

import smtplib
import socket
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from typing import Any

import attrs

from atalaia.config.mail import MailSettings

STEP_S = 15.0  # for one answer of the server


class NotNow(Exception):
    """It may be taken later: the server is away, busy, or not as it should be set up."""


class Never(Exception):
    """The server does not take this mail, or not for this recipient."""


class _Plain(smtplib.SMTP):
    """Shows itself before it waits for an answer, also for the first, so that it can be cut."""

    def __init__(self, sending: "Sending", *args: Any, **options: Any) -> None:
        self._sending = sending
        super().__init__(*args, **options)

    def getreply(self) -> tuple[int, bytes]:
        self._sending.hold(self)
        return super().getreply()


class _Encrypted(_Plain, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte on."""


@attrs.define(eq=False)
class Sending:
    """One try. `send` runs in a thread; `cut` may be called from another, and ends it."""

    settings: MailSettings
    step_s: float = STEP_S
    _smtp: smtplib.SMTP | None = None
    _cut: bool = False

    def send(self, message: EmailMessage, recipient: str) -> None:
        """The server has taken it when this returns. Raises NotNow, Never."""
        try:
            with closing(self._connect()) as smtp:
                self._begin_tls(smtp)
                self._transmit(smtp, message, recipient)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, _),) = error.recipients.values()
            raise (Never if code >= 500 else NotNow)(f"recipient refused: {code}") from error
        except smtplib.SMTPDataError as error:
            kind = Never if error.smtp_code >= 500 else NotNow
            raise kind(f"mail refused: {error.smtp_code}") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotNow(f"the server cannot do what is needed: {error}") from error
        except smtplib.SMTPResponseException as error:  # our greeting, login or sender
            raise NotNow(f"{type(error).__name__}: {error.smtp_code}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotNow(f"{type(error).__name__}: {error}") from error
        except ValueError as error:  # what no command may hold
            raise Never(f"{type(error).__name__}: this cannot be said in SMTP") from error

    def hold(self, smtp: smtplib.SMTP) -> None:
        """What `cut` ends."""
        self._smtp = smtp
        if self._cut:
            self.cut()

    def cut(self) -> None:
        """Whatever it waits for, it waits no longer."""
        self._cut = True
        sock = None if self._smtp is None else self._smtp.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> smtplib.SMTP:
        known = self.settings
        if known.tls == "implicit":
            return _Encrypted(
                self, known.host, known.port, timeout=self.step_s, context=self._context()
            )
        return _Plain(self, known.host, known.port, timeout=self.step_s)

    def _begin_tls(self, smtp: smtplib.SMTP) -> None:
        if self.settings.tls == "starttls":
            smtp.ehlo_or_helo_if_needed()
            code, _ = smtp.starttls(context=self._context())
            if code != 220:
                raise NotNow(f"the server does not begin TLS: {code}")

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.settings.ca_file)

    def _transmit(self, smtp: smtplib.SMTP, message: EmailMessage, recipient: str) -> None:
        if self.settings.user is not None and self.settings.password is not None:
            smtp.login(self.settings.user, self.settings.password)
        smtp.send_message(message, self.settings.sender.addr_spec, [recipient])
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()  # it is taken already, whatever comes of this
