"""Seals what tells of a person before it is written: AES-256-GCM by `cryptography`, with keys that can be changed."""

import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eye_dx_core.errors import BadSettings

_KEY_BYTES, _NONCE_BYTES = 32, 12
_WRONG_KEY = "the vault's key does not open what is stored: put the key back that it was sealed with"


class Vault:
    """Seals with the first of its keys and opens with any of them.

    Random 96-bit nonces: one key is good for 2**32 contents (NIST SP 800-38D, 8.3); change it before that.

    Args:
        keys: 32 random bytes each, in URL-safe base64, newest first.

    Raises:
        BadSettings: a key is not of that form, or there is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [_to_bytes(key) for key in keys]
        self._ciphers = [AESGCM(key) for key in self._keys]
        if not self._ciphers:
            raise BadSettings("the vault has no key")

    def seal(self, content: str | bytes) -> bytes:
        """The content as nonce, ciphertext and tag: 28 bytes longer than it was."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, content.encode() if isinstance(content, str) else content, None)

    def unseal(self, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            BadSettings: it was sealed with another key, or changed since.
        """
        nonce, content = bytes(sealed[:_NONCE_BYTES]), bytes(sealed[_NONCE_BYTES:])
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, content, None)
            except (InvalidTag, ValueError):
                continue
        raise BadSettings(_WRONG_KEY)

    def derive(self, purpose: str) -> bytes:
        """32 bytes for another purpose, such as signing cookies: HKDF-SHA256 (RFC 5869) of the first key, so others after a new key."""
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode()).derive(self._keys[0])


def new_key() -> str:
    """A key of the system's random bytes."""
    return urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def read_keys(file: Path) -> tuple[str, ...]:
    """The keys in a file, one to a line, newest first. A file that is not there is made, with one new key, for its owner only.

    Raises:
        BadSettings: others may read the file, or it holds no key.
    """
    if not file.exists():
        _make_key_file(file)
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise BadSettings(f"others may read the vault's key file: chmod 600 {file}")
    keys = tuple(file.read_text(encoding="ascii", errors="replace").split())
    if not keys:
        raise BadSettings("the vault's key file is empty: put the key back that the records were sealed with")
    return keys


def write_keys(file: Path, keys: Sequence[str]) -> None:
    """Replace the keys of a file in one step."""
    _draft_of(file, keys).replace(file)
    _flush_folder(file)


def _to_bytes(key: str) -> bytes:
    try:
        decoded = urlsafe_b64decode(key)
    except ValueError:
        decoded = b""
    if len(decoded) != _KEY_BYTES:
        raise BadSettings("a key of the vault is not 32 bytes in URL-safe base64; `eye-dx vault new-key` prints one")
    return decoded


def _make_key_file(file: Path) -> None:
    """Whoever links first wins: processes that start together must end with one key."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(file, [new_key()])
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _flush_folder(file)


def _flush_folder(file: Path) -> None:
    """A name is durable only when its folder is: what is sealed must not outlive its key in a power cut."""
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _draft_of(file: Path, keys: Sequence[str]) -> Path:
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write("".join(f"{key}\n" for key in keys))
        opened.flush()
        os.fsync(opened.fileno())
    return draft
