"""What of a folder is a source: the one walk of inference, de-identification, data lists and annotation.

Linked folders are entered, each folder once. What is left out is named, by kind.
"""

import json
import os
import re
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from bundle.data.kinds import is_dicomdir, kind_by_content, kind_by_name

HIDDEN = "hidden, or of the system"
NOT_READABLE = "not to be read: no permission, or damaged"
DANGLING = "link that leads nowhere"
REPEATED = "folder that is searched under another name, or leads back"
RESULTS = "results of an earlier run"
COPIES = "de-identified copies: to use them, name their own folder"
LABELS = "annotators' labels"
SUBFOLDER = "subfolder that is not searched"
DIRECTORY = "directory of a DICOM medium, whose folder is searched"
OTHER = "neither DICOM nor of a suffix that is read here"
DEVICE = "neither file nor folder"

STUDY_RECORD = "study.json"
"""The last file of a study's results, with what a later run needs in order not to do the study again."""

TABLE = "results.csv"
TABLE_BEGINS = "key,status,"
RUN_FILES = frozenset((TABLE, "sources.csv", "config.json", ".lock"))  # What a run writes beside its studies' folders
COPIES_MARK = "deidentified.json"  # In the folder of de-identified copies
ANNOTATION_RECORD = "datastore_v2.json"  # MONAI Label's, beside the images; the labels are in the folder labels then

SYSTEM_NAMES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information"),
        *("@eadir", "lost+found"),
    )
)
NAMES_SHOWN = 3


@dataclass
class LeftOut:
    """Files and folders that are left out, by kind."""

    paths: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, kind: str, path: Path) -> None:
        """Note one."""
        self.paths.setdefault(kind, []).append(path)

    def without(self, names: Collection[str]) -> "LeftOut":
        """The same without what has one of these names."""
        kept = {kind: [path for path in paths if path.name not in names] for kind, paths in self.paths.items()}
        return LeftOut({kind: paths for kind, paths in kept.items() if paths})

    def counts(self) -> list[str]:
        """A line for each kind, without names."""
        return [f"{kind}: {len(paths)}" for kind, paths in self.paths.items()]

    def lines(self) -> list[str]:
        """A line for each kind with a few names, for the person who named the folder."""
        return [f"left out, {kind}: {len(paths)} ({_few_names(paths)})" for kind, paths in self.paths.items()]

    def show(self) -> None:
        """Print the lines on standard error."""
        for line in self.lines():
            print(line, file=sys.stderr)  # noqa: T201 - for the person at the command line


@dataclass(frozen=True)
class Sources:
    """Files of a folder and its subfolders in natural order, and what was left out."""

    root: Path  # The folder
    folders: Mapping[Path, Sequence[Path]]  # Each folder's own files
    left_out: LeftOut  # The rest

    @property
    def files(self) -> list[Path]:
        """All files."""
        return [file for files in self.folders.values() for file in files]

    def matching(self, pattern: str) -> list[Path]:
        """Files and folders whose path from the root fits a glob pattern such as ``images/*.png`` or ``**/*.dcm``."""
        paths = (path for folder, files in self.folders.items() for path in (folder, *files) if path != self.root)
        parts = pattern.split("/")
        return sorted(path for path in paths if _fits(path.relative_to(self.root).parts, parts))

    def kind(self, file: Path) -> str | None:
        """What a file is by its name, or DICOM by its content; None, and left out, if neither."""
        try:
            kind = kind_by_name(file) or ("DICOM" if kind_by_content(file) == "DICOM" else None)
        except OSError:
            self.left_out.add(NOT_READABLE, file)
            return None
        if kind is None:
            self.left_out.add(OTHER, file)
        return kind


def is_address(source: object) -> bool:
    """Whether a source is the address of a PACS instead of a path."""
    return str(source).lower().startswith(("http://", "https://"))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's own or a program's: ``.DS_Store``, ``._film.avi``, ``Thumbs.db``."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def shown(name: str | Path) -> str:
    """A name as any terminal can show it: a line break is ``\\n``, a byte that is not UTF-8 like ``\\udcfc``."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(name))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def find_sources(source: str | Path, exclude: str | Path | None = None, is_deep: bool = True) -> Sources:
    """Search a folder, or that of a DICOMDIR; another file is all there is.

    Left out are hidden files, folders without the right to read, links that lead nowhere or back, and our own results:
    folders with a study's record, labels of annotators, and de-identified copies below the folder itself. So is
    ``exclude``, such as the folder of a run's own results.
    """
    source = Path(source)
    if source.is_file() and not is_dicomdir(source):
        return Sources(source.parent, {source.parent: (source,)}, LeftOut())
    root = source.parent if source.is_file() else source
    if not root.is_dir():
        raise FileNotFoundError(f"no such file or folder: {source}")
    os.scandir(root).close()  # whoever may not read it is told so
    walk = _Walk(root, None if exclude is None else Path(exclude).resolve())
    folders = dict(walk.folders() if is_deep else walk.own_files())
    return Sources(root, folders, walk.left_out)


def own_files(folder: Path) -> list[Path]:
    """A folder's own files in natural order, without what is hidden."""
    return find_sources(folder, is_deep=False).files


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort by name with numbers as numbers: frame2 comes before frame10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", path.name.lower())
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]

    return sorted(paths, key=key)


class _Walk:
    def __init__(self, root: Path, excluded: Path | None) -> None:
        self.root, self.excluded = root, excluded
        self._real_root = root.resolve()
        self.left_out = LeftOut()
        self._seen: set[Path] = set()

    def folders(self) -> Iterator[tuple[Path, list[Path]]]:
        """Each folder with its files: first what lies in the root, then what links lead to."""
        pending, linked = deque([self.root]), deque[Path]()
        while pending or linked:
            folder = pending.pop() if pending else linked.popleft()
            if not self._is_wanted(folder):
                continue
            files, subfolders = self._sorted_entries(folder)
            pending += [sub for sub in reversed(subfolders) if not sub.is_symlink()]
            linked += [sub for sub in subfolders if sub.is_symlink()]
            yield folder, files

    def own_files(self) -> Iterator[tuple[Path, list[Path]]]:
        """The root alone."""
        files, subfolders = self._sorted_entries(self.root)
        for folder in subfolders:
            self.left_out.add(_own_kind(folder, is_root=False) or SUBFOLDER, folder)
        yield self.root, files

    def _is_wanted(self, folder: Path) -> bool:
        real = folder.resolve()
        places = (self._real_root, folder.parent.resolve()) if folder.is_symlink() else ()
        is_back = any(place.is_relative_to(real) for place in places) and folder != self.root
        if real in self._seen or is_back:
            self.left_out.add(REPEATED, folder)
            return False
        self._seen.add(real)
        kind = RESULTS if real == self.excluded and folder != self.root else _own_kind(folder, folder == self.root)
        if kind:
            self.left_out.add(kind, folder)
        return kind is None

    def _sorted_entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Files and subfolders that are not left out, in natural order."""
        try:
            entries = natural_order([folder / name for name in sorted(os.listdir(folder))])
        except OSError:
            self.left_out.add(NOT_READABLE, folder)
            return [], []
        files: list[Path] = []
        subfolders: list[Path] = []
        is_output = any(path.name == TABLE and _is_table(path) for path in entries)
        for path in entries:
            kind = RESULTS if is_output and path.name in RUN_FILES else _kind_left_out(path)
            if kind:
                self.left_out.add(kind, path)
            else:
                (subfolders if path.is_dir() else files).append(path)
        return files, subfolders


def _kind_left_out(path: Path) -> str | None:
    if is_hidden(path.name):
        return HIDDEN
    if path.name.upper() == "DICOMDIR" and path.is_file():
        return DIRECTORY
    try:
        if path.is_file() or path.is_dir():
            return None
    except OSError:  # in a folder whose names may be read, and nothing else
        return NOT_READABLE
    return DANGLING if path.is_symlink() else DEVICE


def _own_kind(folder: Path, is_root: bool) -> str | None:
    """What of ours a folder holds; None if nothing."""
    if _is_record(folder / STUDY_RECORD):
        return RESULTS
    if is_root:
        return None
    if folder.name == "labels" and (folder.parent / ANNOTATION_RECORD).is_file():
        return LABELS
    return COPIES if (folder / COPIES_MARK).is_file() else None


def _is_record(path: Path) -> bool:
    try:
        return {"key", "settings", "outputs"} <= set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(len(TABLE_BEGINS)) == TABLE_BEGINS
    except OSError:
        return False


def _few_names(paths: Sequence[Path]) -> str:
    names = [shown(path.name) for path in paths[:NAMES_SHOWN]]
    return ", ".join([*names, *(["..."] if len(paths) > NAMES_SHOWN else [])])


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match part by part; ``**`` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
