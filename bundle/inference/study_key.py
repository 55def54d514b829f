"""Names for results: a hash of a study's content, since file names may name patients."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bundle.data.sources import find_sources, natural_order

LENGTH = 12


def study_key(study: str | Path | Sequence[Path]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, or of several, or a folder's readable ones, in their order.

    The same content has the same key wherever it lies and whatever it is called.

    Raises:
        FileNotFoundError: If there is no such file or folder.
    """
    if not isinstance(study, str | Path):
        return _key_of(study)
    path = Path(study)
    if path.is_dir():
        sources = find_sources(path, is_deep=False)
        return _key_of([file for file in sources.files if sources.kind(file) is not None])
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return _digest(path).hex()[:LENGTH]


def _key_of(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(_digest(file) for file in natural_order(files))).hexdigest()[:LENGTH]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
