"""What a model is adapted with: a site's labeled frames, and synthetic ones beside, all on the model's own square."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, RandAdjustContrastd, RandGaussianNoised
from torch import Tensor
from torch.utils.data import default_collate

from bundle.data.datalist import load_datalist, read_datalist
from bundle.keys import FRAME, IMAGE, LABEL, PATIENT, PIXEL_ASPECT, VALID
from bundle.losses.segmentation import KNOWN
from bundle.phantom.dataset import SEEDS_PER_DATASET
from bundle.phantom.study import Domain, generate_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.transforms.affine import RandAffineFramed
from bundle.transforms.field_of_view import find_field_of_view
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

Entry = dict[Hashable, Any]
"""``image`` ``(1, H, W)``, ``label`` ``(S, H, W)``, ``valid`` ``(1, H, W)`` and ``known`` ``(S,)`` of one frame."""

REHEARSED, WATCHED = 81, 82
"""Seeds of the synthetic patients that are trained on, and of those that only show what is forgotten."""
DOMAINS: tuple[Domain, ...] = ("standard", "hard")
MOST_LABELED = 200
"""Frames that are kept in memory; a site with more trains with configs/fine_tune.json."""
HELD_OUT_FROM = 5
"""Labeled frames from which on one patient, or one frame, is held out."""


def load_site_frames(datalist: str | Path, segmenter: Segmenter) -> tuple[list[Entry], list[Entry]]:
    """Labeled frames to train on, and those that are held out: the section ``validation``, or some of ``training``.

    A structure that a clip's label does not name is not known there; clips without a label are passed over.

    Raises:
        ValueError: If no frame has a label of a structure that the model knows, labels are empty, or there are too many
            frames.
    """
    content = read_datalist(datalist)
    sections = {
        section: list(_labeled(datalist, content, section, segmenter)) for section in ("training", "validation")
    }
    training, held_out = sections["training"], sections["validation"]
    if not training:
        raise ValueError(
            f"{datalist}: no frame of its training has a label of {list(segmenter.structures)}, which the model knows: "
            "label at least one structure in one frame"
        )
    if not held_out and len(training) >= HELD_OUT_FROM:
        held_out = _last_patient(training)
        training = [entry for entry in training if not any(entry is other for other in held_out)]
    for name, entries in (("trained on", training), ("held out", held_out)):
        if entries and not any(entry[LABEL].any() for entry in entries):
            raise ValueError(f"{datalist}: the labels of the frames that are {name} are all empty: outline a structure")
    return training, held_out


def _labeled(datalist: str | Path, content: Mapping[str, Any], section: str, segmenter: Segmenter) -> Iterator[Entry]:
    if not any("label" in item for item in content.get(section, [])):
        return
    found = 0
    for entry in load_datalist(datalist, section, ()):
        names = [name for name in segmenter.structures if name in entry[LABEL].structures]
        if not names:
            continue
        found += 1
        if found > MOST_LABELED:
            raise ValueError(
                f'{datalist}: more than {MOST_LABELED} labeled frames in {section}: name fewer under "frames", or '
                "train with configs/train.json and fine_tune.json"
            )
        loaded = LoadFramed(names)(dict(entry.items()))
        frame = {IMAGE: loaded[IMAGE], LABEL: loaded[LABEL], PIXEL_ASPECT: loaded[PIXEL_ASPECT]}
        yield _on_square(frame, names, segmenter) | {PATIENT: entry[PATIENT], FRAME: entry[FRAME]}


def _on_square(frame: Mapping[Any, Any], names: Sequence[str], segmenter: Segmenter) -> Entry:
    entry: Entry = Letterboxd(keys=[IMAGE, LABEL], size=segmenter.image_size)(frame)
    label = torch.zeros(len(segmenter.structures), *entry[LABEL].shape[1:], dtype=torch.uint8)
    known = torch.zeros(len(segmenter.structures))
    for mask, name in zip(entry[LABEL], names, strict=True):
        label[segmenter.structures.index(name)] = mask
        known[segmenter.structures.index(name)] = 1
    return {IMAGE: entry[IMAGE], LABEL: label, VALID: entry[VALID], KNOWN: known}


def _last_patient(training: Sequence[Entry]) -> list[Entry]:
    """The frames of the patient with the fewest, of equals the last; of a single patient the last frame."""
    patients = list(dict.fromkeys(entry[PATIENT] for entry in training))
    if len(patients) == 1:
        return [training[-1]]
    of_patient = {name: [entry for entry in training if entry[PATIENT] == name] for name in reversed(patients)}
    return min(of_patient.values(), key=len)


def synthetic_frames(seed: int, patients: int, frames_each: int, segmenter: Segmenter) -> list[Entry]:
    """Phantom frames of both domains with their true masks; of structures that no phantom has, the model's own."""
    shared = [name for name in segmenter.structures if name in STRUCTURES]
    entries = []
    for index in range(patients):
        domain = DOMAINS[index % len(DOMAINS)]
        study = generate_study(seed * SEEDS_PER_DATASET + index, segmenter.image_size, frames_each, domain=domain)
        window = (..., *find_field_of_view(study.frames).slices())
        masks = study.masks[:, [STRUCTURES.index(name) for name in shared]]
        for frame, label in zip(study.frames[window], masks[window], strict=True):
            content = {IMAGE: torch.from_numpy(np.ascontiguousarray(frame)), LABEL: torch.from_numpy(label.copy())}
            entries.append(_on_square(content, shared, segmenter))
    if len(shared) < len(segmenter.structures):
        for entry in entries:
            _fill_in(entry, segmenter)
    return entries


@torch.inference_mode()
def _fill_in(entry: Entry, segmenter: Segmenter) -> None:
    device = next(segmenter.parameters()).device
    own = (segmenter(entry[IMAGE][None].to(device))[0] > 0).to("cpu", torch.uint8)
    entry[LABEL] = torch.where(entry[KNOWN][:, None, None] > 0, entry[LABEL], own * entry[VALID].to(torch.uint8))
    entry[KNOWN] = torch.ones_like(entry[KNOWN])


class FrameDraws:
    """Batches of frames, drawn with replacement and changed at random as in ``configs/train.json``.

    Args:
        entries: At least one.
        batch_size: Frames of a batch.
        seed: Of draws and changes.
    """

    def __init__(self, entries: Sequence[Entry], batch_size: int, seed: int) -> None:
        self.entries, self.batch_size = entries, batch_size
        self.random = np.random.default_rng(seed)
        keys = [IMAGE, LABEL, VALID]
        self.change = Compose(
            [
                RandAffineFramed(keys, prob=0.8, degrees=12.0, scale=(0.85, 1.15), shift=0.08),
                RandAdjustContrastd(IMAGE, prob=0.5, gamma=(0.6, 1.8)),
                RandGaussianNoised(IMAGE, prob=0.3, std=0.02),
            ]
        ).set_random_state(seed)

    def draw(self) -> dict[str, Tensor]:
        """One batch."""
        drawn = self.random.integers(len(self.entries), size=self.batch_size)
        return collate([self.change({**self.entries[index]}) for index in drawn])


def collate(entries: Sequence[Mapping[Any, Any]]) -> dict[str, Tensor]:
    """Frames as one batch of plain tensors."""
    keys = (IMAGE, LABEL, VALID, KNOWN)
    batch = {key: default_collate([torch.as_tensor(entry[key]) for entry in entries]) for key in keys}
    return {key: value.as_tensor() if hasattr(value, "as_tensor") else value for key, value in batch.items()}
