"""Whether the sections of a data list are apart: no patient and no film in two of them, whatever they are called."""

import hashlib
import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from bundle.data.sources import own_files

logger = logging.getLogger(__name__)

SAMPLE_BYTES = 4096  # Read at the start, in the middle and at the end of files of equal size, before any is read whole
SHOWN = 4  # Groups in different sections that are named
Listed = Sequence[tuple[str, Mapping[str, Any]]]  # Section and clip, as the data list has them


def patient_key(patient: str) -> str:
    """What remains of a patient's id without case, Unicode form and surplus blanks: equal keys are one patient."""
    return " ".join(unicodedata.normalize("NFKC", patient).casefold().split())


def check_patients(path: Path, items: Listed) -> None:
    """Refuse a patient in two sections, and warn of ids that look like one patient's."""
    first: dict[str, tuple[str, str]] = {}
    for section, item in items:
        patient = item["patient"]
        spelling, other = first.setdefault(patient_key(patient), (patient, section))
        if other != section:
            also = "" if spelling == patient else f" (there as '{spelling}')"
            raise ValueError(
                f"{path}: patient '{patient}' is in both {other}{also} and {section}: "
                "put all clips of a patient into one section"
            )
    _warn_of_kin(first.values())


def check_images(path: Path, items: Listed) -> None:
    """Refuse an image that is listed twice, also by another path, a link, or as a part of a listed folder."""
    seen: dict[Hashable, tuple[str, str]] = {}
    for section, item in items:
        image = item["image"]
        identity = _identity(path.parent / image)
        if identity in seen:
            other, other_section = seen[identity]
            same = "is listed twice" if other == image else f"is the same as '{other}'"
            raise ValueError(f"{path}: image '{image}' {same}, in {other_section} and {section}: keep one")
        seen[identity] = (image, section)
    for section, item in items:
        file = Path(os.path.realpath(path.parent / item["image"]))
        folder = seen.get(_identity(file.parent)) if file.is_file() else None
        if folder:
            raise ValueError(
                f"{path}: image '{item['image']}' in {section} is a part of '{folder[0]}' in {folder[1]}: keep one"
            )


def warn_of_copies(path: Path, items: Listed) -> None:
    """Warn, once, of images in different sections that have the same content; those that are missing are left out."""
    _warn_of_copies(path, tuple((section, item["image"]) for section, item in items))


@cache
def warn_once(message: str) -> None:
    """A warning for the person at the command line, once in a process however often a data list is read."""
    logger.warning(message)


def _identity(path: Path) -> Hashable:
    """The same for the same file by whatever path or link; by its full path where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _warn_of_kin(patients: Iterable[tuple[str, str]]) -> None:
    """Warn of ids such as ``p001`` and ``p1``, ``p001`` and ``p001-2``, ``p001-thin`` and ``p001-puree``."""
    section_of = dict(patients)
    parts = {patient: _parts(patient) for patient in section_of}
    whole = {"-".join(names) for names in parts.values()}
    kin: dict[str, list[str]] = defaultdict(list)
    for patient, names in parts.items():
        starts = set(accumulate(names, "{}-{}".format)) & whole
        for form in starts | {"-".join(_without_words(names)), "".join(names)}:
            kin[form].append(patient)
    _warn_across_sections(
        kin.values(), section_of, "patients", "may be one: then put them into one section, as a patient_pattern does"
    )


def _parts(patient: str) -> list[str]:  # "P001_thin" -> ["p1", "thin"]
    words = re.findall(r"[^\W_]+", patient_key(patient))
    return [re.sub(r"(?<!\d)0+(?=\d)", "", word) for word in words] or [patient]


def _without_words(parts: Sequence[str]) -> Sequence[str]:  # ["p1", "thin", "2"] -> ["p1"]
    for index in range(1, len(parts)):
        if parts[index].isalpha() and any(any(map(str.isdecimal, part)) for part in parts[:index]):
            return parts[:index]
    return parts


def _warn_across_sections(
    groups: Iterable[Sequence[str]], section_of: Mapping[str, str], what: str, remedy: str
) -> None:
    apart = [group for group in dict.fromkeys(map(tuple, groups)) if _is_split(group, section_of)]
    for group in apart[:SHOWN]:
        first = {section_of[name]: name for name in reversed(group)}  # one of each section
        names = ", ".join(f"'{name}' ({section})" for section, name in reversed(first.items()))
        more = f" and {len(group) - len(first)} more" if len(group) > len(first) else ""
        warn_once(f"data list: the {what} {names}{more} {remedy}")
    if len(apart) > SHOWN:
        warn_once(f"data list: and {len(apart) - SHOWN} more such groups of {what}")


@cache
def _warn_of_copies(path: Path, images: tuple[tuple[str, str], ...]) -> None:
    section_of = {image: section for section, image in images}
    files = {image: _files(path.parent / image) for image in section_of}
    groups: Iterable[list[str]] = [[image for image in section_of if files[image]]]
    for trait in (_size, _sample, _content):
        parts: dict[Hashable, list[str]] = defaultdict(list)
        for number, group in enumerate(groups):
            for image in group if _is_split(group, section_of) else ():
                parts[number, *sorted(trait(file) for file in files[image])].append(image)
        groups = list(parts.values())
    _warn_across_sections(groups, section_of, "images", "have the same content: keep one of them")


def _files(image: Path) -> list[Path]:
    return own_files(image) if image.is_dir() else [image] if image.is_file() else []


def _is_split(group: Sequence[str], section_of: Mapping[str, str]) -> bool:
    return len({section_of[image] for image in group}) > 1


def _size(path: Path) -> Any:
    return path.stat().st_size


def _sample(path: Path) -> Any:
    size, parts = path.stat().st_size, []
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - SAMPLE_BYTES)):
            file.seek(start)
            parts.append(file.read(SAMPLE_BYTES))
    return hashlib.sha256(b"".join(parts)).digest()


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
