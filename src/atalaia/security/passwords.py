"""Passwords with bcrypt, cost 12. Hashing takes about 0.3 s: call it in a worker thread."""

import secrets

import bcrypt

COST = 12
MAX_BYTES = 72  # bcrypt reads no further


def hash_password(password: str) -> str:
    """Raises ValueError beyond 72 bytes, which bcrypt would ignore."""
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"a password may have at most {MAX_BYTES} bytes")
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def new_password() -> str:
    """About 143 bits, easy to copy."""
    return secrets.token_urlsafe(18)
