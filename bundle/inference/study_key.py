"""Names for results: a hash of a study's content, since file names may name patients."""

import hashlib
from pathlib import Path

from bundle.data.readers import READABLE_SUFFIXES
from bundle.data.stills import natural_order

LENGTH = 12


def study_key(path: str | Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, or of the readable files of a folder in their order.

    The same content has the same key wherever it lies and whatever it is called.

    Raises:
        FileNotFoundError: If there is no such file or folder.
    """
    path = Path(path)
    if path.is_dir():
        digests = [_digest(file) for file in natural_order([f for f in path.iterdir() if _belongs(f)])]
        return hashlib.sha256(b"".join(digests)).hexdigest()[:LENGTH]
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return _digest(path).hex()[:LENGTH]


def _belongs(file: Path) -> bool:
    is_named_so = file.suffix == "" or file.name.lower().endswith(READABLE_SUFFIXES)
    return file.is_file() and is_named_so and not file.name.startswith(".")


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
