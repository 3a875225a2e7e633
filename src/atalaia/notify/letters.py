"""What mails say, in Portuguese and English: a text and the same as HTML.

Pure. What others wrote (a tenant's name) is escaped where it becomes HTML, and headers are made by
the standard library, which takes no line break in any.
"""

from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from urllib.parse import quote

import attrs

from atalaia.model.mail import QueuedMail

MOST_SUBJECT_CHARS = 120


class Unfit(Exception):
    """This can never be a mail."""


@attrs.frozen
class _Words:
    """subject and lines, in one language. {tenant}, {hours}, {api}: filled in."""

    subject: str
    greeting: str
    what: str
    holds: str
    page: str
    token: str
    ignore: str


_PT = {
    "invitation": _Words(
        "Convite para {tenant}",
        "Olá,",
        "você foi convidado(a) para {tenant} no Atalaia. Escolha uma senha para entrar.",
        "O link vale por {hours} e funciona uma só vez.",
        "Escolher a senha",
        "Envie este código, com a senha, para POST {api}/v1/auth/password/reset:",
        "Se você não esperava este convite, ignore esta mensagem.",
    ),
    "reset": _Words(
        "Nova senha para {tenant}",
        "Olá,",
        "alguém pediu uma nova senha para a sua conta em {tenant} no Atalaia.",
        "O link vale por {hours} e funciona uma só vez.",
        "Escolher uma nova senha",
        "Envie este código, com a nova senha, para POST {api}/v1/auth/password/reset:",
        "Se não foi você, ignore esta mensagem: a sua senha continua a mesma.",
    ),
}
_EN = {
    "invitation": _Words(
        "Invitation to {tenant}",
        "Hello,",
        "you are invited to {tenant} on Atalaia. Choose a password to sign in.",
        "The link holds for {hours} and works once.",
        "Choose a password",
        "Send this code, with the password, to POST {api}/v1/auth/password/reset:",
        "If you did not expect this, ignore it.",
    ),
    "reset": _Words(
        "A new password for {tenant}",
        "Hello,",
        "somebody asked for a new password for your account in {tenant} on Atalaia.",
        "The link holds for {hours} and works once.",
        "Choose a new password",
        "Send this code, with the new password, to POST {api}/v1/auth/password/reset:",
        "If it was not you, ignore this: your password stays as it is.",
    ),
}


def write_mail(
    mail: QueuedMail, sender: Address, page: str | None, now: datetime, *, api: str | None = None
) -> EmailMessage:
    """The mail as it is sent. page: where the link leads; None: its token is shown. api: the
    address of the service, where it is known; the token goes there.

    The Message-ID is the mail's own, so that one that comes twice is known. Raises Unfit for a
    recipient that is none, and for what no longer says what is needed.
    """
    token, lives_s = mail.params.get("token"), mail.params.get("lives_s")
    if mail.kind not in _PT or not isinstance(token, str) or not isinstance(lives_s, int):
        raise Unfit("there is nothing to send in it")
    link = None if page is None else f"{page}#token={quote(token, safe='')}"
    api = (api or "").rstrip("/")
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        message["To"] = Address(addr_spec=mail.recipient)
        tenant = " ".join(mail.tenant_name.split())
        subject = _PT[mail.kind].subject.format(tenant=tenant)
        # The standard library decodes what is encoded in it, line breaks too.
        message["Subject"] = subject.replace("=?", "= ?")[:MOST_SUBJECT_CHARS]
    except (ValueError, IndexError, MessageError) as error:
        raise Unfit("the recipient's address is none") from error
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{mail.mail_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    both = [
        (_PT[mail.kind], _lasting(lives_s, "hora", "dia")),
        (_EN[mail.kind], _lasting(lives_s, "hour", "day")),
    ]
    text = "\n\n".join(_text(words, tenant, lasts, link, token, api) for words, lasts in both)
    message.set_content(text, cte="quoted-printable")
    body = "<hr>".join(_html(words, tenant, lasts, link, token, api) for words, lasts in both)
    page_text = f"<!doctype html><html><body>{body}</body></html>"
    message.add_alternative(page_text, subtype="html", cte="quoted-printable")
    return message


def _lasting(seconds: int, hour: str, day: str) -> str:
    count, word = max(1, seconds // 3_600), hour
    if seconds >= 86_400:
        count, word = seconds // 86_400, day
    return f"{count} {word}{'' if count == 1 else 's'}"


def _text(words: _Words, tenant: str, lasts: str, link: str | None, token: str, api: str) -> str:
    way = f"{words.page}: {link}" if link else f"{words.token.format(api=api)}\n\n    {token}"
    return (
        f"{words.greeting}\n\n{words.what.format(tenant=tenant)}\n\n{way}\n\n"
        f"{words.holds.format(hours=lasts)} {words.ignore}\n"
    )


def _html(words: _Words, tenant: str, lasts: str, link: str | None, token: str, api: str) -> str:
    if link:
        way = f'<a href="{escape(link)}">{escape(words.page)}</a>'
    else:
        way = f"{escape(words.token.format(api=api))}<br><code>{escape(token)}</code>"
    what = escape(words.what.format(tenant=tenant))
    rest = escape(f"{words.holds.format(hours=lasts)} {words.ignore}")
    return f"<p>{escape(words.greeting)}</p><p>{what}</p><p>{way}</p><p>{rest}</p>"
