"""Names and UIDs that stand for the real ones: the same for the same original and key, not to be undone without it."""

import hashlib
import hmac
import os
import secrets
import uuid
from pathlib import Path

from bundle.text import read_text

KEY_BYTES = 32
NAME_LENGTH = 16


class Pseudonyms:
    """Keyed hashes (HMAC-SHA256): who has no key cannot find an original by trying all possible ones.

    Without a key a new one is made, which nobody keeps.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def uid(self, original: str) -> str:
        """A UID made of a UUID (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def name(self, kind: str, original: str | bytes) -> str:
        """16 hexadecimal digits for a patient, a study, a file; equal originals of two kinds have two names."""
        return self._digest(kind, original).hex()[:NAME_LENGTH]

    def _digest(self, kind: str, original: str | bytes) -> bytes:
        content = original if isinstance(original, bytes) else original.encode(errors="surrogateescape")
        return hmac.new(self._key, kind.encode() + b"\0" + content, hashlib.sha256).digest()


def read_or_make_key(path: str | Path) -> bytes:
    """Read a key file, or make one that only its owner can read."""
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        key = bytes.fromhex(read_text(path))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"{path} is no key file: expected {2 * KEY_BYTES} hexadecimal digits; a path not there makes one"
        )
    return key
