"""Write a data list for a folder of clips and masks, split by patient."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.data.datalist import ALL_SECTIONS, SECTIONS, check_datalist
from bundle.data.kinds import NIFTI_SUFFIXES
from bundle.data.mask_files import ACCEPTED, MASK_SUFFIXES
from bundle.data.nifti import open_nifti
from bundle.data.sources import OTHER, find_sources
from bundle.data.split_checks import patient_key
from bundle.structures import check_names

FIRST_PART_OF_THE_NAME = r"[^/_.]+"


def make_datalist(
    folder: str | Path,
    structures: Sequence[str],
    output: str | Path | None = None,
    images: str | None = None,
    labels: str | None = "{stem}_masks",
    patient_pattern: str = FIRST_PART_OF_THE_NAME,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    **about: str | bool,
) -> Path:
    """Find clips and their masks, split them by patient, write the data list and check it.

    Args:
        folder: Where the clips are.
        structures: Names in the order of a NIfTI's channels, or of the values 1, 2, ... of an indexed map.
        output: The JSON; by default ``datalist.json`` in the folder.
        images: Which clips, as a glob pattern from the folder such as ``images/*.png``; by default all DICOM and video
            files in it and below. What ``find_sources`` leaves out is no clip; it is named on standard error.
        labels: Where a clip's masks are, from the clip's own folder: a mask file, or a folder with a file (or a folder
            of PNGs) per structure, with or without its suffix. ``{stem}`` is the clip's name; with ``{structure}``,
            as in ``../masks/{structure}/{stem}``, each structure's mask is looked for on its own. None or empty: no
            labels.
        patient_pattern: What to read the patient from: a regular expression matched at the start of the clip's path
            within the folder; its first group, if it has one. By default all up to the first ``/``, ``_`` or ``.``.
        fractions: Shares of the patients in training, validation and test.
        seed: Of the draw that splits the patients.
        about: "synthetic", whether no patient was imaged, and "description", "source" and "license", in words.

    Returns:
        Path of the data list.

    Raises:
        FileNotFoundError: If there are no clips, or a clip has no masks.
        ValueError: If a name has no patient in it, a structure's name cannot be one, there are fewer patients than
            sections, or a label does not fit.
    """
    check_names(structures)
    folder = Path(folder)
    output = Path(output) if output is not None else folder / "datalist.json"
    clips = _find_clips(folder, images)
    items = []
    for clip, label in zip(clips, _find_labels(clips, labels, structures), strict=True):
        item: dict[str, Any] = {"patient": _patient(clip.relative_to(folder), patient_pattern)}
        item["image"] = _relative(clip, output)
        if label is not None:
            item["label"] = _label_entry(label, structures, output)
        items.append(item)
    sections = split_by_patient(items, dict(zip(SECTIONS, fractions, strict=True)), seed)
    synthetic = about.pop("synthetic", False)
    content = {"name": folder.resolve().name, "synthetic": synthetic, "structures": list(structures)}
    return write_datalist(output, {**content, **about, **sections}, is_labeled=bool(labels))


def write_datalist(output: Path, content: Mapping[str, Any], is_labeled: bool = True) -> Path:
    """Write a data list that has been checked, files and all; if it is wrong, nothing is written.

    Its paths are relative to the JSON's folder, which is made. Labeled, every clip of it must have labels.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_name(f"{output.name}.draft")
    try:
        draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
        sections = [section for section in ALL_SECTIONS if section in content]
        check_datalist(draft, content["structures"] if is_labeled else None, sections)
        os.replace(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    return output


def split_by_patient(
    items: Iterable[Mapping[str, Any]], fractions: Mapping[str, float], seed: int
) -> dict[str, list[Mapping[str, Any]]]:
    """Put each patient's items into one section.

    Args:
        items: Anything with a "patient"; ids that differ in case, Unicode form or blanks are one patient's.
        fractions: Share of the patients for each section; they sum to 1, and each above 0 gets a patient at least.
        seed: Equal seeds split equal patients equally, in whatever order they come.
    """
    items = list(items)
    if min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1.0) > 1e-6:
        raise ValueError(f"fractions must not be negative and sum to 1, got {dict(fractions)}")
    wanted = {section: fraction for section, fraction in fractions.items() if fraction > 0}
    patients = sorted({patient_key(item["patient"]) for item in items})
    if len(patients) < len(wanted):
        raise ValueError(
            f"{len(patients)} patients {patients} cannot fill the sections {list(wanted)}: each needs one at least; "
            "check patient_pattern, or set a fraction to 0"
        )
    np.random.default_rng(seed).shuffle(patients)
    sections = [section for section, count in _counts(wanted, len(patients)).items() for _ in range(count)]
    section_of = dict(zip(patients, sections, strict=True))
    return {
        section: [item for item in items if section_of[patient_key(item["patient"])] == section] for section in wanted
    }


def _counts(fractions: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers near ``fraction * total``, at least 1 each; the largest section takes what rounding leaves."""
    counts = {section: max(1, round(fraction * total)) for section, fraction in fractions.items()}
    largest = max(counts, key=lambda section: counts[section])
    counts[largest] += total - sum(counts.values())
    return counts


def _find_clips(folder: Path, pattern: str | None) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    sources = find_sources(folder)
    if pattern is not None:
        clips = sources.matching(pattern)
    else:
        clips = sorted(file for file in sources.files if sources.kind(file) in ("DICOM", "video"))
    sources.left_out.paths.pop(OTHER, None)  # masks and tables, as beside any clips
    sources.left_out.show()
    if not clips:
        what = f"matches '{pattern}'" if pattern else "is a DICOM or video file; name others with a pattern"
        raise FileNotFoundError(f"nothing in {folder} {what}")
    return clips


Label = Path | dict[str, Path]  # Masks of all structures, or a path for each


def _find_labels(clips: Sequence[Path], template: str | None, structures: Sequence[str]) -> list[Label | None]:
    if not template:
        return [None] * len(clips)
    labels = [_find_label(clip, template, structures) for clip in clips]
    without = [str(clip) for clip, label in zip(clips, labels, strict=True) if label is None]
    if without:
        raise FileNotFoundError(
            f"{len(without)} of {len(clips)} clips have no masks at '{template}': {', '.join(without[:3])}"
            f"{' and more' if len(without) > 3 else ''}; masks are {ACCEPTED}"
        )
    return labels


def _find_label(clip: Path, template: str, structures: Sequence[str]) -> Label | None:
    if "{structure}" not in template:
        return _find_file(clip, template)
    paths = {name: _find_file(clip, template.replace("{structure}", name)) for name in structures}
    found = {name: path for name, path in paths.items() if path is not None}
    return found if len(found) == len(structures) else None


def _find_file(clip: Path, template: str) -> Path | None:
    stem = clip.name if clip.is_dir() else clip.name.removesuffix(".gz").removesuffix(".nii")
    stem = stem if clip.is_dir() or stem != clip.name else clip.stem
    base = clip.parent / template.format(stem=stem)
    return next((path for path in _with_suffixes(base) if path.exists()), None)


def _with_suffixes(base: Path) -> list[Path]:
    return [base, *(base.with_name(base.name + suffix) for suffix in (*MASK_SUFFIXES, ".seg.nrrd"))]


def _patient(clip: Path, pattern: str) -> str:
    match = re.match(pattern, clip.as_posix())
    if match is None:
        raise ValueError(f"patient_pattern '{pattern}' does not match '{clip.as_posix()}'")
    return match.group(1 if match.re.groups else 0)


def _label_entry(label: Label, structures: Sequence[str], output: Path) -> str | dict[str, Any]:
    if isinstance(label, dict):
        return {name: _relative(path, output) for name, path in label.items()}
    if label.is_dir():
        return {name: _relative(_structure_mask(label, name), output) for name in structures}
    if label.name.lower().endswith(NIFTI_SUFFIXES) and len(open_nifti(label).shape) == 5:
        return _relative(label, output)
    if len(structures) == 1:
        return {structures[0]: _relative(label, output)}
    values = {str(index): name for index, name in enumerate(structures, start=1)}
    return {"map": _relative(label, output), "values": values}


def _structure_mask(folder: Path, name: str) -> Path:
    for path in _with_suffixes(folder / name):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"no mask of '{name}' in {folder}: expected '{name}' as a folder of PNGs or with one of {list(MASK_SUFFIXES)}; "
        "an absent structure needs an empty mask"
    )


def _relative(path: Path, output: Path) -> str:
    return Path(os.path.relpath(path.absolute(), output.absolute().parent)).as_posix()
