"""Content addresses: short hashes of what an entry was made from."""

import hashlib

import numpy as np

SIZE = 16
"""Bytes of an address: with 2⁶⁴ entries a collision becomes likely."""


def digest(*parts: bytes | str | int) -> bytes:
    """Hash the parts and their borders (BLAKE2b, 16 bytes)."""
    state = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        state.update(len(content).to_bytes(8, "little"))
        state.update(content)
    return state.digest()


def as_array(addresses: list[bytes]) -> np.ndarray:  # (N, 16) uint8
    """Addresses as a table, as shards keep them."""
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, SIZE)


def as_addresses(table: np.ndarray) -> list[bytes]:  # (N, 16) uint8
    """The inverse of :func:`as_array`."""
    content = np.ascontiguousarray(table).tobytes()
    return [content[start : start + SIZE] for start in range(0, len(content), SIZE)]
