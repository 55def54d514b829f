"""Words of messages without the names of files, which may name a patient."""

import re
from collections.abc import Callable
from pathlib import Path

PLACEHOLDER = "<name>"
WORD_OR_NUMBER = re.compile(r"[a-z]+|[\W\d_]+")
"""A name that a message may hold by chance. It is hidden in quotes alone, which our messages put around every name."""


class NameHider:
    """Hides whole names and paths of a study's files, and of those beside it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._names: frozenset[str] = frozenset()

    def hide(self, words: str, source: Path) -> str:
        """The same words without names; those of one folder are listed once while its studies follow each other."""
        if not words:
            return words
        folder = source if source.is_dir() else source.parent
        if folder != self._folder:
            self._folder, self._names = folder, _names_in(folder)
        for path in (str(source), str(folder)):
            words = words.replace(path, PLACEHOLDER) if "/" in path.strip("/") else words
        own = _forms(source.name)
        return _without(words, lambda part: part in self._names or part in own)


def _names_in(folder: Path) -> frozenset[str]:
    names = [folder.name, *(entry.name for entry in folder.iterdir())] if folder.is_dir() else []
    return frozenset(form for name in names for form in _forms(name))


def _forms(name: str) -> frozenset[str]:
    """How a name may stand in a message."""
    quoted = {f"'{name}'", repr(name)}
    return frozenset(quoted if WORD_OR_NUMBER.fullmatch(name) or not name else {name, *quoted})


def _without(words: str, is_name: Callable[[str], bool]) -> str:
    """Replace what stands between two edges of words and is a name, the longest first."""
    ends = [at.start() for at in re.finditer(r"(?![\w-]|\.\w)", words)][::-1]
    parts, position = [], 0
    for start in (at.start() for at in re.finditer(r"(?<![\w.-])", words)):
        end = next((end for end in ends if end > start >= position and is_name(words[start:end])), None)
        if end is not None:
            parts += [words[position:start], PLACEHOLDER]
            position = end
    return "".join([*parts, words[position:]])
