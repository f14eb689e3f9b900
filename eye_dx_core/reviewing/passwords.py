"""Passwords of those who work at the desk: argon2id with the library's own parameters (RFC 9106, low memory)."""

from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from eye_dx_core.errors import BadSettings

LEAST_CHARACTERS = 10


def hash_password(password: str) -> str:
    """The hash to keep.

    Raises:
        BadSettings: the password is too short.
    """
    if len(password) < LEAST_CHARACTERS:
        raise BadSettings(f"a password has {LEAST_CHARACTERS} characters at least")
    return PasswordHasher().hash(password)


def is_right(password: str, password_hash: str | None) -> bool:
    """Whether it is the password of a hash; without a hash it takes as long, so that nobody learns which users there are."""
    try:
        return PasswordHasher().verify(password_hash or _nobodys(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _nobodys() -> str:
    return PasswordHasher().hash("nobody has this password")
