"""Which passwords are taken, and how they are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.security.common_passwords import is_common
from atalaia.security.passwords import (
    NOBODYS,
    find_fault,
    hash_password,
    needs_rehash,
    new_password,
    password_matches,
)


@pytest.mark.parametrize(
    "password",
    [
        "password12345678", "passwordpassword", "123456789012345", "qwertyuiopasdfghjkl",
        "aaaaaaaaaaaaaaaa", "abcabcabcabcabc", "PassW0rd!PassW0rd!", "admin2024admin2024",
        "iloveyou-iloveyou", "senhasenha123456", "1q2w3e4r5t6y7u8i", "maria.silva2024!",
        "CorrectHorseBatteryStaple", "987654321098765",
    ],
)  # fmt: skip
def test_common_ones_are_refused(password: str) -> None:
    """Long, and yet among the first that are tried."""
    assert find_fault(password, "maria.silva@example.org") is not None


@pytest.mark.parametrize(
    "password",
    [
        "a quiet evening by the sea", "grilo verde na janela", "x9#kQ!vv2pLm0zR",
        "Ünïcödé läßt grüßen", "739182046517394", "tower of seven herons",
    ],
)  # fmt: skip
def test_long_ones_are_taken(password: str) -> None:
    """Words, spaces, letters of any language: nothing is asked of how they are composed."""
    assert find_fault(password, "maria.silva@example.org") is None


@pytest.mark.parametrize("password", ["", "short", "fourteen chars", "é" * 40, "x" * 20 + "\n"])
def test_short_too_long_and_unprintable_ones_are_refused(password: str) -> None:
    """What bcrypt would not read to its end is refused rather than cut."""
    assert find_fault(password, "m@example.org") is not None


@given(st.text(max_size=72))
def test_to_look_for_common_ones_is_total(password: str) -> None:
    """Whatever is sent has an answer."""
    assert is_common(password, ("m",)) in (True, False)


def test_made_ones_are_taken() -> None:
    """The first administrator's fits the rules for all."""
    for _ in range(100):
        assert find_fault(new_password(), "admin@atalaia.local") is None


def test_nobodys_password_is_compared_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same cost: how long it takes says nothing."""
    compared = []
    monkeypatch.setattr("bcrypt.checkpw", lambda _, stored: compared.append(stored))
    for stored in (hash_password("x"), None):
        password_matches("x", stored)
    assert [stored[:7] for stored in compared] == [b"$2b$12$"] * 2


def test_passwords_are_compared() -> None:
    """The right one alone; nobody's password is none; what bcrypt does not read is not right."""
    stored = hash_password("x" * 72)
    assert password_matches("x" * 72, stored)
    for wrong in ("x" * 71, "x" * 73, "", "x" * 71 + "\0"):
        assert not password_matches(wrong, stored)
    assert not password_matches("x" * 72, None)
    assert not password_matches("x" * 72, "no password")
    assert NOBODYS.startswith(stored[:7])
    assert (needs_rehash(stored), needs_rehash(stored.replace("$12$", "$10$"))) == (False, True)
