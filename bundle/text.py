"""Text files that a person wrote, in whatever Unicode encoding their editor chose."""

import json
from pathlib import Path
from typing import Any


def read_text(path: str | Path) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, which is left out."""
    content = Path(path).read_bytes()
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text in UTF-8 or UTF-16 ({error.reason}): save it as UTF-8") from None


def read_json(path: str | Path) -> Any:
    """Content of a JSON file in any of these encodings; a key that is there twice is an error: one would be lost."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from None


class _RepeatedKeyError(ValueError):
    """Python's parser would keep the last value in silence."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _RepeatedKeyError(f"the key '{repeated}' is there twice in one object: keep one, or merge the two")
    return content
