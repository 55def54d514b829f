"""Masks over time on held-out synthetic swallows: frame by frame, carried by the memory, and not moved at all."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from bundle.export.model_card import load_segmenter
from bundle.inference.predictor import ClipInferer
from bundle.laboratory.flicker import area_flicker, flicker
from bundle.metrics.overlap import dice
from bundle.phantom.study import Domain, PhantomStudy, generate_study
from bundle.segmentation.prompting import Prompt
from bundle.segmentation.propagation import ClipTracker
from bundle.segmentation.sam2 import load_tracker
from bundle.segmentation.segmenter import Segmenter

FIRST_SEED = 32_000_000
"""Patients of no data set."""

FRAME_RATE, MACHINE_RATE = 15, 30
LATE = 0.25
"""Share of a clip, its end, that "late" Dice is of."""

Masks = Tensor  # bool (T, S, H, W)


@dataclass(frozen=True)
class VideoScore:
    """One way of making masks, over all patients."""

    masks: str  # How the masks are made
    dice: float  # Mean over patients, structures and frames but the first
    late_dice: float  # Mean over the last quarter of the frames
    flicker: float  # :func:`bundle.laboratory.flicker.flicker`, its mean
    area_flicker: float  # :func:`bundle.laboratory.flicker.area_flicker`, its mean
    ms_per_frame: float | None  # Time per frame of all structures together; None where nothing is computed
    ms_per_mask: float | None  # Time per frame and structure


@dataclass
class _Tally:
    dice: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    seconds: float = 0.0
    frames: int = 0
    masks: int = 0

    def add(self, pred: Masks, label: Masks, seconds: float) -> None:
        scores = dice(pred[1:], label[1:])  # (T - 1, S); the first frame is given to some
        num_late = max(1, round(LATE * len(label)))
        self.dice.append(float(scores.nanmean(0).nanmean()))
        self.late.append(float(scores[-num_late:].nanmean(0).nanmean()))
        self.flicker.append(float(flicker(pred, label).nanmean()))
        self.area.append(float(area_flicker(pred, label).nanmean()))
        self.seconds += seconds
        self.frames += len(label)
        self.masks += label.shape[0] * label.shape[1]

    def score(self, name: str) -> VideoScore:
        means = [float(np.mean(values)) for values in (self.dice, self.late, self.flicker, self.area)]
        times = [1000 * self.seconds / count if self.seconds else None for count in (self.frames, self.masks)]
        return VideoScore(name, *means, *times)


def shipped_tracker(folder: Path) -> tuple[Segmenter, SAM2VideoPredictor]:
    """The segmenter ``model.pt`` of a folder, as its ``model.json`` says, and the tracker with ``memory.pt``."""
    segmenter = load_segmenter(folder / "model.pt")
    return segmenter, load_tracker(segmenter, folder / "memory.pt")


def measure_video(
    segmenter: Segmenter,
    tracker: SAM2VideoPredictor,
    num_patients: int = 6,
    num_frames: int = 30,
    size: int | None = None,
    domain: Domain = "standard",
) -> list[VideoScore]:
    """Compare ways to make masks of the structures that a swallow's first frame shows; 15 frames a second."""
    size = segmenter.image_size if size is None else size
    ways: dict[str, Callable[[Tensor, Masks, list[int]], Masks]] = {
        "automatic, frame by frame": lambda clip, _, channels: automatic(segmenter, clip)[:, channels],
        "carried from true masks of the first frame": lambda clip, label, channels: track_masks(
            segmenter, tracker, clip, masks_of(segmenter, label, channels)
        ),
        "carried from automatic masks of the first frame": lambda clip, _, channels: track_masks(
            segmenter, tracker, clip, masks_of(segmenter, automatic(segmenter, clip[:1])[:, channels], channels)
        ),
        "carried from a click on each structure": lambda clip, label, channels: track_masks(
            segmenter, tracker, clip, clicks_on(segmenter, label, channels)
        ),
        "true masks of the first frame, not moved": lambda _, label, channels: label[:1].expand_as(label),  # noqa: ARG005
    }
    tallies = {name: _Tally() for name in ways}
    for clip, label, channels in _swallows(num_patients, num_frames, size, domain):
        for name, make in ways.items():
            start = time.perf_counter()
            pred = make(clip, label, channels)
            is_computed = "not moved" not in name
            tallies[name].add(pred, label, time.perf_counter() - start if is_computed else 0.0)
    return [tally.score(name) for name, tally in tallies.items()]


def automatic(segmenter: Segmenter, clip: Tensor) -> Masks:
    """Masks of all structures, one frame at a time."""
    return ClipInferer(segmenter.image_size, batch_size=1, progress=False)(clip, segmenter)


def track_masks(segmenter: Segmenter, tracker: SAM2VideoPredictor, clip: Tensor, prompts: list[Prompt]) -> Masks:
    """Masks of the prompted structures, in the order of the prompts."""
    session = ClipTracker(segmenter, tracker, clip)
    for prompt in prompts:
        session.prompt(prompt)
    order = {prompt.structure: index for index, prompt in enumerate(prompts)}
    masks = torch.zeros(len(clip), len(prompts), *clip.shape[-2:], dtype=torch.bool)
    for frame, structure, mask in session.track():
        masks[frame, order[structure]] = mask
    return masks


def masks_of(segmenter: Segmenter, label: Masks, channels: list[int]) -> list[Prompt]:
    """Masks of the first frame as prompts; ``label`` holds the structures of ``channels``."""
    return [Prompt(segmenter.structures[c], mask=label[0, index]) for index, c in enumerate(channels)]


def clicks_on(segmenter: Segmenter, label: Masks, channels: list[int]) -> list[Prompt]:
    """One click on each structure of the first frame, on the pixel in the middle of its list of pixels."""
    prompts = []
    for index, channel in enumerate(channels):
        pixels = label[0, index].nonzero()
        row, column = pixels[len(pixels) // 2].tolist()
        prompts.append(Prompt(segmenter.structures[channel], points=[(column, row)], point_labels=[1]))
    return prompts


def _swallows(
    num_patients: int, num_frames: int, size: int, domain: Domain
) -> Iterator[tuple[Tensor, Masks, list[int]]]:
    """Clips, true masks of the structures that their first frame shows, and these structures' channels."""
    step = MACHINE_RATE // FRAME_RATE
    for patient in range(num_patients):
        study = _study(FIRST_SEED + patient, size, num_frames * step, domain)
        label = torch.from_numpy(study.masks[::step]).bool()
        channels = label[0].flatten(1).any(1).nonzero().flatten().tolist()
        yield torch.from_numpy(study.frames[::step]), label[:, channels], channels


def _study(seed: int, size: int, num_frames: int, domain: Domain) -> PhantomStudy:
    return generate_study(seed, size, num_frames, "consecutive", frame_rate=float(MACHINE_RATE), domain=domain)
