"""The data list: a JSON of clips and labels, split by patient (docs/reference/datalist.md)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

from bundle.data.labels import LabelSpec, MapLabel, check_structures, parse_label, present_structures, probe_labels
from bundle.data.readers import probe_clip
from bundle.data.split_checks import check_images, check_patients, patient_key, warn_of_copies, warn_once
from bundle.keys import CLIP, FRAME, IMAGE, LABEL, PATIENT, PIXEL_ASPECT, PIXEL_SPACING_MM
from bundle.structures import check_names
from bundle.text import read_json

SECTIONS = ("training", "validation", "test")
"""What patients are split into."""

ALL_SECTIONS = (*SECTIONS, "hard_test")
"""Also patients who differ on purpose from all others, in machine, dose, hardware or pathology: for evaluation only."""

LABEL_FRAME = "label_frame"
"""Index of a frame within its label, which may hold the labelled frames only."""


@dataclass(frozen=True)
class SectionSummary:
    """What a section holds; ``num_frames`` is None if files were not looked at."""

    num_patients: int
    num_clips: int
    num_frames: int | None


def load_datalist(path: str | Path, section: str, structures: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """List a section's frames, one dictionary each, for ``LoadFramed``.

    Args:
        path: The data list's JSON file.
        section: "training", "validation", "test" or "hard_test".
        structures: Names of the structures to load; None for frames without labels, as distillation needs them.

    Returns:
        ``{"image": Path, "frame": int, "patient": str, "clip": str}``, with structures also ``"label"`` and
        ``"label_frame"``, ``"pixel_spacing_mm"`` and ``"pixel_aspect"`` where the data list gives one.

    Raises:
        FileNotFoundError: If the data list or a file in it is missing.
        ValueError: If the data list is wrong in any way; the message says where, what was expected and what came.
    """
    path = Path(path)
    content = read_datalist(path)
    items = _section(path, content, section)
    if structures is not None:
        check_structures(structures, content["structures"], f"data list {path}")
    _check_files_exist(path, items)
    warn_of_copies(path, _items(content))
    frames = [frame for item in items for frame in _frames(path, content, section, item, structures)]
    if structures is not None:
        _check_maps(path, content, section, items, structures)
    return frames


def read_datalist(path: str | Path) -> dict[str, Any]:
    """Read the JSON; check its form and its structures' names, that no patient is in two sections and no image twice.

    A ``ValueError`` names in one line the place, what was expected and what came.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data list at {path}: make one with scripts/make_datalist.py, or correct the path")
    content = read_json(path)
    mistake = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_schema()).iter_errors(content))
    if mistake is not None:
        raise ValueError(f"{path}: {_explain(mistake)}; the format is in docs/reference/datalist.md")
    try:
        check_names(content["structures"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    check_patients(path, _items(content))
    check_images(path, _items(content))
    return content


def check_datalist(
    path: str | Path,
    structures: Sequence[str] | None,
    sections: Sequence[str] = ("training", "validation"),
    check_files: bool = True,
) -> dict[str, SectionSummary]:
    """Preflight: refuse before training what would stop it later.

    Errors are those of ``load_datalist``; also clips that cannot be read or do not fit their label, and labels with
    other values than a mask.

    Args:
        path: The data list's JSON file.
        structures: Names that training will ask for; None if it needs no labels.
        sections: Sections that must be there and not empty.
        check_files: Also open every clip's header, compare the sizes of clips and labels, and read every label.
    """
    path = Path(path)
    content = read_datalist(path)
    if structures is not None:
        check_structures(structures, content["structures"], f"data list {path}")
    if check_files:
        warn_of_copies(path, _items(content))
    summaries = {}
    for section in sections:
        items = _section(path, content, section)
        _check_files_exist(path, items)
        num_frames = None
        if check_files:
            num_frames = sum(_check_item(path, content, section, item, structures) for item in items)
            if structures is not None:
                _check_values(path, section, [_label(path, content, section, item) for item in items], structures)
        summaries[section] = SectionSummary(
            len({patient_key(item["patient"]) for item in items}), len(items), num_frames
        )
    return summaries


@cache
def _schema() -> dict[str, Any]:
    return json.loads(files("bundle.data").joinpath("datalist_schema.json").read_text(encoding="utf-8"))


def _explain(error: jsonschema.ValidationError) -> str:
    where = error.json_path
    schema: Any = error.schema
    instance: Any = error.instance
    required: Any = error.validator_value
    if error.validator == "required":
        missing = [name for name in required if name not in instance]
        return f"{where}: missing {missing}, got the keys {sorted(instance)}"
    if error.validator == "anyOf":
        return f"{where}: expected at least one of the sections {list(ALL_SECTIONS)}, got the keys {sorted(instance)}"
    if error.validator == "additionalProperties" and isinstance(instance, dict):
        known = sorted(schema.get("properties", {}))
        unknown = next(name for name in instance if name not in known and not name.startswith("_"))
        close = get_close_matches(unknown, known, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        return f"{where}: unknown key '{unknown}'{hint}, expected some of {known}"
    got = json.dumps(instance)
    expected = schema.get("description", error.message)
    return f"{where}: expected {expected}, got {got if len(got) < 80 else got[:77] + '...'}"


def _items(content: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(section, item) for section in ALL_SECTIONS for item in content.get(section, [])]


def _section(path: Path, content: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    if section not in ALL_SECTIONS:
        raise ValueError(f"section must be one of {list(ALL_SECTIONS)}, got '{section}'")
    if section not in content:
        there = [name for name in ALL_SECTIONS if name in content]
        raise ValueError(f"{path}: no section '{section}', it has {there}: add it, or name one of these")
    if not content[section]:
        raise ValueError(f"{path}: section '{section}' is empty: it needs at least one clip")
    return content[section]


def _label(path: Path, content: Mapping[str, Any], section: str, item: Mapping[str, Any]) -> LabelSpec:
    if "label" not in item:
        raise ValueError(f"{path}: '{item['image']}' in {section} has no label, and labels are asked for")
    return parse_label(item["label"], path.parent, content["structures"])


def _check_maps(
    path: Path, content: Mapping[str, Any], section: str, items: Sequence[Mapping[str, Any]], structures: Sequence[str]
) -> None:
    """Read the values of a section's maps, of which only the data list knows what is right: masks are 0 and 1."""
    labels = [_label(path, content, section, item) for item in items]
    if all(isinstance(label, MapLabel) for label in labels):
        _check_values(path, section, labels, structures)
        return
    for label in labels:
        if isinstance(label, MapLabel):
            present_structures(label)


def _check_values(path: Path, section: str, labels: Sequence[LabelSpec], structures: Sequence[str]) -> None:
    """Read all labels of a section: refuse wrong values, and maps that hold nothing asked for; note what is nowhere."""
    present = set().union(*(present_structures(label) for label in labels))
    absent = [name for name in structures if name not in present]
    if len(absent) == len(structures) and all(isinstance(label, MapLabel) for label in labels):
        raise ValueError(
            f"{path}: none of {absent} has a pixel in the {len(labels)} label maps of {section}: correct the maps, or "
            'the "values" that name what is in them'
        )
    if absent:
        warn_once(f"data list: nowhere in the labels of {section}: {', '.join(absent)}")


def _check_files_exist(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    wanted = [path.parent / item["image"] for item in items]
    wanted += [file for item in items if "label" in item for file in parse_label(item["label"], path.parent, ()).paths]
    missing = [str(file) for file in wanted if not file.exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(wanted)} files are missing: {', '.join(missing[:3])}{more}; "
            "paths are relative to the data list's folder"
        )


def _frames(
    path: Path, content: Mapping[str, Any], section: str, item: Mapping[str, Any], structures: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    image = path.parent / item["image"]
    common: dict[str, Any] = {IMAGE: image, PATIENT: item["patient"], CLIP: _clip_name(item["image"])}
    if "pixel_aspect" in item:
        common[PIXEL_ASPECT] = float(item["pixel_aspect"])
    if "pixel_spacing_mm" in item:
        common[PIXEL_SPACING_MM] = tuple(item["pixel_spacing_mm"])
    if structures is None:
        frames = item.get("frames") or range(probe_clip(image).num_frames)
        yield from ({**common, FRAME: frame} for frame in frames)
        return
    label = _label(path, content, section, item)
    check_structures(structures, label.structures, f"the label of '{item['image']}'")
    for frame, label_frame in _labelled_frames(path, item, probe_labels(label)[0]):
        yield {**common, FRAME: frame, LABEL: label, LABEL_FRAME: label_frame}


def _labelled_frames(path: Path, item: Mapping[str, Any], num_label_frames: int) -> list[tuple[int, int]]:
    """Pairs of frame and label frame: a label covers the clip, or just the frames listed, in their order."""
    frames = item.get("frames")
    if frames is None:
        return [(frame, frame) for frame in range(num_label_frames)]
    if len(frames) == num_label_frames:
        return list(zip(frames, range(num_label_frames), strict=True))
    if max(frames) >= num_label_frames:
        raise ValueError(
            f"{path}: frames of '{item['image']}' go up to {max(frames)}, but its label has {num_label_frames} frames: "
            "a label must cover the whole clip, or exactly the frames listed"
        )
    return [(frame, frame) for frame in frames]


def _clip_name(image: str) -> str:
    """Path within the data list without its suffix: unique, since images are."""
    return Path(image).as_posix().removesuffix(".gz").removesuffix(Path(image.removesuffix(".gz")).suffix)


def _check_item(
    path: Path, content: Mapping[str, Any], section: str, item: Mapping[str, Any], structures: Sequence[str] | None
) -> int:  # number of frames
    clip = probe_clip(path.parent / item["image"])
    frames = item.get("frames")
    if frames is not None and max(frames) >= clip.num_frames:
        raise ValueError(
            f"{path}: frames of '{item['image']}' go up to {max(frames)}, but the clip has {clip.num_frames} frames "
            f"(counted from 0)"
        )
    if structures is None:
        return len(frames or range(clip.num_frames))
    label = _label(path, content, section, item)
    check_structures(structures, label.structures, f"the label of '{item['image']}'")
    num_frames, rows, columns = probe_labels(label)
    if (rows, columns) != (clip.rows, clip.columns):
        raise ValueError(
            f"{path}: label of '{item['image']}' is {rows} x {columns} pixels, its frames are "
            f"{clip.rows} x {clip.columns}: export the masks at the size of the frames"
        )
    if num_frames not in (clip.num_frames, len(frames or ())):
        raise ValueError(
            f"{path}: label of '{item['image']}' has {num_frames} frames, the clip has {clip.num_frames}"
            + (f" and {len(frames)} are listed" if frames else ' and no "frames" are listed')
        )
    return len(_labelled_frames(path, item, num_frames))
