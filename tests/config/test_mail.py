"""SMTP_HOST and what goes with it: as it is meant, or a sentence that says what to write."""

from pathlib import Path

import pytest

from atalaia.config.mail import parse_mail
from atalaia.model.errors import StartupRefused

FROM = {"SMTP_HOST": "smtp.example.com", "SMTP_FROM": "Atalaia <no-reply@example.org>"}


def test_without_a_host_there_are_no_mails() -> None:
    """Whatever else is set."""
    assert parse_mail({"SMTP_USER": "u", "SMTP_FROM": "x"}) is None


def test_the_port_says_how_tls_begins() -> None:
    """587 in the clear and then encrypted, 465 encrypted from the first byte on."""
    usual = parse_mail(FROM)
    assert usual is not None
    assert (usual.port, usual.tls, usual.user) == (587, "starttls", None)
    assert (usual.sender.display_name, usual.sender.addr_spec) == (
        "Atalaia", "no-reply@example.org",
    )  # fmt: skip
    other = parse_mail(FROM | {"SMTP_PORT": "465", "SMTP_USER": "apikey", "SMTP_PASS": "secret"})
    assert other is not None
    assert (other.tls, other.user) == ("implicit", "apikey")
    assert "secret" not in repr(other)
    here = parse_mail(FROM | {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "25", "SMTP_TLS": "none"})
    assert here is not None
    assert here.tls == "none"


def test_where_a_token_goes_is_what_clients_call() -> None:
    """Where somebody has said it."""
    for url in (None, "https://api.example.com"):
        found = parse_mail(FROM | ({} if url is None else {"ATALAIA_PUBLIC_URL": url}))
        assert found is not None
        assert found.public_url == url


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"SMTP_FROM": ""}, "SMTP_FROM"),
        ({"SMTP_FROM": "nobody"}, "SMTP_FROM"),
        ({"SMTP_FROM": "a@b.example\r\nBcc: all@x.example"}, "SMTP_FROM"),
        ({"SMTP_FROM": "@"}, "SMTP_FROM"),
        ({"SMTP_PORT": "0"}, "SMTP_PORT"),
        ({"SMTP_PORT": "65536"}, "SMTP_PORT"),
        ({"SMTP_PORT": "smtp"}, "SMTP_PORT"),
        ({"SMTP_USER": "u"}, "SMTP_PASS"),
        ({"SMTP_PASS": "p"}, "SMTP_USER"),
        ({"SMTP_TLS": "ssl"}, "starttls, implicit or none"),
        ({"SMTP_TLS": "none"}, "in the clear"),
        ({"SMTP_CA_FILE": "/nowhere/ca.pem"}, "SMTP_CA_FILE"),
        ({"ATALAIA_PASSWORD_PAGE": "app.example.com"}, "ATALAIA_PASSWORD_PAGE"),
        ({"ATALAIA_PASSWORD_PAGE": "javascript:alert(1)"}, "ATALAIA_PASSWORD_PAGE"),
        ({"ATALAIA_PASSWORD_PAGE": "https://x.example/#a"}, "ATALAIA_PASSWORD_PAGE"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, str], word: str) -> None:
    """At the start, and not when somebody waits for a mail."""
    with pytest.raises(StartupRefused, match=word):
        parse_mail(FROM | given)


def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    """By its file."""
    (tmp_path / "ca.pem").touch()
    found = parse_mail(FROM | {"SMTP_CA_FILE": str(tmp_path / "ca.pem")})
    assert found is not None
    assert found.ca_file == tmp_path / "ca.pem"
