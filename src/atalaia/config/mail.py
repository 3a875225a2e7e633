"""Whom mails are handed to: SMTP_HOST and what goes with it."""

from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import attrs

from atalaia.model.errors import StartupRefused

Tls = Literal["starttls", "implicit", "none"]
IMPLICIT_PORT = 465


@attrs.frozen
class MailSettings:
    """One server. tls: starttls: the connection is in the clear until it has begun, and nothing is
    said before. ca_file: of a certificate that the system does not know. page: where whoever gets a
    link chooses a password; the link's token is added behind a #. public_url: the service's own
    address, where the token goes without a page.
    """

    host: str
    port: int
    sender: Address
    tls: Tls = "starttls"
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    page: str | None = None
    public_url: str | None = None


def parse_mail(given: Mapping[str, str]) -> MailSettings | None:
    """None without SMTP_HOST. given: the environment. Raises StartupRefused."""
    host = given.get("SMTP_HOST", "").strip()
    if not host:
        return None
    port = _port(given.get("SMTP_PORT") or "587")
    user, password = given.get("SMTP_USER") or None, given.get("SMTP_PASS") or None
    if (user is None) != (password is None):
        raise StartupRefused("SMTP_USER and SMTP_PASS are given together, or neither.")
    ca_file = given.get("SMTP_CA_FILE")
    if ca_file and not Path(ca_file).is_file():
        raise StartupRefused(f"SMTP_CA_FILE: there is no file {ca_file}.")
    return MailSettings(
        host,
        port,
        parse_sender(given.get("SMTP_FROM", "")),
        _tls(given.get("SMTP_TLS"), host, port),
        user,
        password,
        Path(ca_file) if ca_file else None,
        _page(given.get("ATALAIA_PASSWORD_PAGE") or None),
        given.get("ATALAIA_PUBLIC_URL") or None,
    )


def parse_sender(text: str) -> Address:
    """`no-reply@example.org` or `Atalaia <no-reply@example.org>`. Raises StartupRefused."""
    name, address = parseaddr(text)
    try:
        if not text.isprintable():
            raise ValueError
        sender = Address(name, addr_spec=address)
        if not (sender.username and sender.domain):
            raise ValueError
    except (ValueError, IndexError, MessageError) as error:
        raise StartupRefused(
            "SMTP_FROM is whom mails come from: no-reply@example.org, or "
            "Atalaia <no-reply@example.org>."
        ) from error
    return sender


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise StartupRefused("SMTP_PORT is a number from 1 to 65535, mostly 587 or 465.")
    return int(text)


def _tls(text: str | None, host: str, port: int) -> Tls:
    match text or ("implicit" if port == IMPLICIT_PORT else "starttls"):
        case "starttls":
            return "starttls"
        case "implicit":
            return "implicit"
        case "none" if _is_here(host):
            return "none"
        case "none":
            raise StartupRefused(
                "SMTP_TLS=none would send passwords and links in the clear: it is for a server on "
                "this machine alone."
            )
        case _:
            raise StartupRefused("SMTP_TLS is starttls, implicit or none.")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _page(text: str | None) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise StartupRefused(
            "ATALAIA_PASSWORD_PAGE is the address of a page, such as https://app.example.com/password"
        )
    return text
