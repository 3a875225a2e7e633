"""Passwords with bcrypt, cost 12. Hashing takes about 0.3 s: call it in a worker thread.

What a password must be: long. Without a second factor that is 15 characters (ASVS 5, 6.2), of any
kind, and not made of what everybody tries first.
"""

import secrets

import bcrypt

from atalaia.security.common_passwords import is_common

COST = 12
MAX_BYTES = 72  # bcrypt reads no further
MIN_CHARS = 15

NOBODYS = "$2b$12$WbApv81xkUYoG4szYWTKj.CcVvwITHJOJozU2xfBmj5B/W34KguM."
"""The hash for whom there is none: to find that out must take as long as a wrong password."""


def hash_password(password: str) -> str:
    """Raises ValueError beyond 72 bytes, which bcrypt would ignore."""
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"a password may have at most {MAX_BYTES} bytes")
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def password_matches(password: str, stored: str | None) -> bool:
    """stored: None where there is no such user, or one without a password. As slow either way."""
    text = password.encode()
    try:
        right = bcrypt.checkpw(text[:MAX_BYTES], (stored or NOBODYS).encode())
    except ValueError:  # what is stored was never a hash
        bcrypt.checkpw(text[:MAX_BYTES], NOBODYS.encode())
        return False
    return right and stored is not None and len(text) <= MAX_BYTES


def find_fault(password: str, email: str) -> str | None:
    """Why this may not be somebody's password; None: it may."""
    if len(password) < MIN_CHARS:
        return f"A password has {MIN_CHARS} characters at least; several words are easy to keep."
    if len(password.encode()) > MAX_BYTES:
        return f"A password has {MAX_BYTES} bytes at most."
    if not password.isprintable():
        return "A password has no control characters."
    if is_common(password, (email, email.partition("@")[0])):
        return "This is one of the passwords that are tried first; choose another."
    return None


def new_password() -> str:
    """About 143 bits, easy to copy."""
    return secrets.token_urlsafe(18)


def needs_rehash(stored: str) -> bool:
    """Whether it was made at a lower cost than today's."""
    parts = stored.split("$")
    return len(parts) == 4 and parts[2].isdigit() and int(parts[2]) < COST
