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

from bundle.data.labels import LabelSpec, MapLabel, check_structures, parse_label, present_structures
from bundle.data.readers import probe_clip
from bundle.data.split_checks import check_images, check_patients, patient_key, warn_of_copies, warn_once
from bundle.keys import CLIP, FRAME, IMAGE, LABEL, PATIENT, PIXEL_ASPECT, PIXEL_SPACING_MM
from bundle.structures import check_names
from bundle.text import read_json

SECTIONS = ("training", "validation", "test")  # What patients are split into

ALL_SECTIONS = (*SECTIONS, "hard_test")
"""Also patients who differ on purpose from all others, in machine, dose, hardware or pathology: for evaluation only."""

LABEL_FRAME = "label_frame"  # Index of a frame within its label, which may hold the labeled frames only


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
        structures: Names of the structures to load; None for frames without labels, as distillation needs them; none
            (``()``) for every clip that has a label, of whatever structures.

    Returns:
        ``{"image": Path, "frame": int, "patient": str, "clip": str}``, with structures also ``"label"`` and
        ``"label_frame"``, ``"pixel_spacing_mm"`` and ``"pixel_aspect"`` where the data list gives one.

    Raises:
        FileNotFoundError: If the data list or a file in it is missing.
        ValueError: If the data list is wrong in any way; the message says where, what was expected and what came.
    """
    path = Path(path)
    content = read_datalist(path)
    listed = _Section(path, content, section, structures)
    listed.check_files_exist()
    warn_of_copies(path, _items(content))
    frames = [frame for item in listed.items for frame in listed.frames(item)]
    if structures is not None:
        listed.check_maps()
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
    for name in sections:
        listed, num_frames = _Section(path, content, name, structures), None
        listed.check_files_exist()
        if check_files:
            num_frames = sum(listed.count_frames(item) for item in listed.items)
            if structures is not None:
                listed.check_values()
        patients = {patient_key(item["patient"]) for item in listed.items}
        summaries[name] = SectionSummary(len(patients), len(listed.items), num_frames)
    return summaries


def _items(content: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(section, item) for section in ALL_SECTIONS for item in content.get(section, [])]


class _Section:
    """A section of a data list that must be there and not empty, and the structures that are asked of it."""

    def __init__(self, path: Path, content: Mapping[str, Any], name: str, structures: Sequence[str] | None) -> None:
        if name not in ALL_SECTIONS:
            raise ValueError(f"section must be one of {list(ALL_SECTIONS)}, got '{name}'")
        if name not in content:
            there = [section for section in ALL_SECTIONS if section in content]
            raise ValueError(f"{path}: no section '{name}', it has {there}: add it, or name one of these")
        if not content[name]:
            raise ValueError(f"{path}: section '{name}' is empty: it needs at least one clip")
        if structures is not None:
            check_structures(structures, content["structures"], f"data list {path}")
        self.path, self.name, self.structures = path, name, structures
        self.known: Sequence[str] = content["structures"]
        takes_all = structures is None or len(structures) > 0
        self.items: list[dict[str, Any]] = [item for item in content[name] if takes_all or "label" in item]

    def check_files_exist(self) -> None:
        """Refuse a section of which a file is missing."""
        wanted = [self.path.parent / item["image"] for item in self.items]
        labels = (parse_label(item["label"], self.path.parent, ()) for item in self.items if "label" in item)
        wanted += [file for label in labels for file in label.paths]
        missing = [str(file) for file in wanted if not file.exists()]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise FileNotFoundError(
                f"{self.path}: {len(missing)} of {len(wanted)} files are missing: {', '.join(missing[:3])}{more}; "
                "paths are relative to the data list's folder"
            )

    def frames(self, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Entries of a clip's frames, as ``load_datalist`` gives them."""
        image = self.path.parent / item["image"]
        common: dict[str, Any] = {IMAGE: image, PATIENT: item["patient"], CLIP: _clip_name(item["image"])}
        if "pixel_aspect" in item:
            common[PIXEL_ASPECT] = float(item["pixel_aspect"])
        if "pixel_spacing_mm" in item:
            common[PIXEL_SPACING_MM] = tuple(item["pixel_spacing_mm"])
        if self.structures is None:
            frames = item.get("frames") or range(probe_clip(image).num_frames)
            yield from ({**common, FRAME: frame} for frame in frames)
            return
        label = self._label(item)
        for frame, label_frame in self._labeled_frames(item, label.probe()[0]):
            yield {**common, FRAME: frame, LABEL: label, LABEL_FRAME: label_frame}

    def count_frames(self, item: Mapping[str, Any]) -> int:
        """Frames of a clip that are listed, or labeled, after a look at its header and its label's."""
        clip, frames, owner = probe_clip(self.path.parent / item["image"]), item.get("frames"), f"'{item['image']}'"
        if frames is not None and max(frames) >= clip.num_frames:
            raise ValueError(
                f"{self.path}: frames of {owner} go up to {max(frames)}, but the clip has {clip.num_frames} frames "
                f"(counted from 0)"
            )
        if self.structures is None:
            return len(frames or range(clip.num_frames))
        num_frames, rows, columns = self._label(item).probe()
        if (rows, columns) != (clip.rows, clip.columns):
            raise ValueError(
                f"{self.path}: label of {owner} is {rows} x {columns} pixels, its frames are "
                f"{clip.rows} x {clip.columns}: export the masks at the size of the frames"
            )
        if num_frames not in (clip.num_frames, len(frames or ())):
            raise ValueError(
                f"{self.path}: label of {owner} has {num_frames} frames, the clip has {clip.num_frames}"
                + (f" and {len(frames)} are listed" if frames else ' and no "frames" are listed')
            )
        return len(self._labeled_frames(item, num_frames))

    def check_maps(self) -> None:
        """Read the values of maps, of which only the data list knows what is right: masks are 0 and 1."""
        labels = [self._label(item) for item in self.items]
        maps = [label for label in labels if isinstance(label, MapLabel)]
        if len(maps) == len(labels):
            self.check_values()
        else:
            for label in maps:
                present_structures(label)

    def check_values(self) -> None:
        """Read all labels: refuse wrong values, and maps that hold nothing asked for; note what is nowhere."""
        labels, structures = [self._label(item) for item in self.items], self.structures or ()
        present = set().union(*(present_structures(label) for label in labels))
        absent = [name for name in structures if name not in present]
        if absent and len(absent) == len(structures) and all(isinstance(label, MapLabel) for label in labels):
            raise ValueError(
                f"{self.path}: none of {absent} has a pixel in the {len(labels)} label maps of {self.name}: correct "
                'the maps, or the "values" that name what is in them'
            )
        if absent:
            warn_once(f"data list: nowhere in the labels of {self.name}: {', '.join(absent)}")

    def _label(self, item: Mapping[str, Any]) -> LabelSpec:
        if "label" not in item:
            raise ValueError(f"{self.path}: '{item['image']}' in {self.name} has no label, and labels are asked for")
        label = parse_label(item["label"], self.path.parent, self.known)
        check_structures(self.structures or (), label.structures, f"the label of '{item['image']}'")
        return label

    def _labeled_frames(self, item: Mapping[str, Any], num_label_frames: int) -> list[tuple[int, int]]:
        """Pairs of frame and label frame: a label covers the clip, or just the frames listed, in their order."""
        frames = item.get("frames")
        if frames is None:
            return [(frame, frame) for frame in range(num_label_frames)]
        if len(frames) == num_label_frames:
            return list(zip(frames, range(num_label_frames), strict=True))
        if max(frames) >= num_label_frames:
            raise ValueError(
                f"{self.path}: frames of '{item['image']}' go up to {max(frames)}, but its label has "
                f"{num_label_frames} frames: a label must cover the whole clip, or exactly the frames listed"
            )
        return [(frame, frame) for frame in frames]


def _clip_name(image: str) -> str:
    """Path within the data list without its suffix: unique, since images are."""
    return Path(image).as_posix().removesuffix(".gz").removesuffix(Path(image.removesuffix(".gz")).suffix)


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
