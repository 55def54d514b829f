"""MONAI Label's inference tasks: every structure automatically, one by clicks, chosen ones through a cine."""

import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from bundle.annotation.images import ImageCache, Proposals, StudyImage
from bundle.annotation.label_maps import (
    LABEL_SUFFIXES,
    LAYERS_SUFFIX,
    PICTURE_SUFFIX,
    Annotation,
    Grid,
    as_layers,
    paint,
    write_annotation,
)
from bundle.annotation.refusals import RefusedRequestError
from bundle.annotation.requested import all_prompts, click_prompt, requested_frames, structure_name
from bundle.annotation.served_model import ServedModel
from bundle.data.kinds import STILL_SUFFIXES
from bundle.segmentation.prompting import Prompt

Answer = tuple[str, dict[str, Any]]  # a label file, which the server sends and removes, and what is said about it


class Segmented(NamedTuple):
    """An answer: the frames and the structures that it is about, labels of the whole clip, and what else to say."""

    frames: Sequence[int]
    names: Sequence[str]
    annotation: Annotation
    said: dict[str, Any]


class SegmentationTask(InferTask):
    """What the three tasks have in common: images, the model, and how an answer is written."""

    kind: InferType  # MONAI Label's word for how a viewer offers the task
    num_dimensions = 3  # 2 for one frame at a time, 3 for a whole cine
    words: str  # for the viewer
    is_automatic = False  # whether it answers without anybody's clicks

    def __init__(self, images: ImageCache, model: ServedModel, proposals: Proposals) -> None:
        self.images, self.model, self.proposals = images, model, proposals
        self.structures = model.structures
        labels = {name: value for value, name in enumerate(self.structures, start=1)}
        super().__init__(type=self.kind, labels=labels, dimension=self.num_dimensions, description=self.words)

    def is_valid(self) -> bool:
        """Whether there are weights to answer with."""
        return self.model.checkpoint().is_file()

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Answer a request: ``image`` is a path, the rest as the viewer has sent it."""
        start = time.monotonic()
        image = self.images.get(request["image"])
        suffix = _requested_suffix(request, image)
        frames, names, annotation, said = self.segment(request, image, suffix == LAYERS_SUFFIX)
        self.proposals.add(image, annotation, frames, names, self.model.identity(), self.is_automatic)
        path = _write(annotation, image, frames, suffix, self.structures)
        said |= {
            "label_names": annotation.present(self.structures, frames),
            "frames": list(frames),
            "latencies": {"total": round(time.monotonic() - start, 3)},
        }
        return str(path), said

    @abstractmethod
    def segment(self, request: Mapping[str, Any], image: StudyImage, has_layers: bool) -> Segmented:
        """Answer, without writing it."""


class AutoTask(SegmentationTask):
    """Every structure, in the frame that ``slice`` names or in all frames."""

    kind, words, is_automatic = InferType.SEGMENTATION, "Every structure, in one frame or in all", True

    def segment(self, request: Mapping[str, Any], image: StudyImage, has_layers: bool) -> Segmented:
        frames = requested_frames(request, image)
        masks = zip(frames, self.model.automatic(image, frames), strict=True)
        annotation = collect_labels(masks, image, range(len(self.structures)) if has_layers else None)
        return Segmented(frames, self.structures, annotation, {})


class ClickTask(SegmentationTask):
    """One structure in one frame, by points and a box."""

    kind, num_dimensions, words = InferType.DEEPGROW, 2, "One structure in one frame, by points and a box"

    def segment(self, request: Mapping[str, Any], image: StudyImage, _has_layers: bool) -> Segmented:
        prompt = click_prompt(request, image, self.structures)
        answer = self.model.click(image, prompt)
        masks = np.zeros((len(self.structures), *answer.mask.shape), bool)
        masks[self.structures.index(prompt.structure)] = answer.mask.numpy()
        annotation = collect_labels([(prompt.frame, masks)], image)
        return Segmented([prompt.frame], [prompt.structure], annotation, {"iou": round(answer.iou, 4)})


class PropagateTask(SegmentationTask):
    """Chosen structures through a whole cine, from points and boxes on some frames, or from one frame's masks."""

    kind, words = InferType.DEEPGROW, "Chosen structures through the whole cine"

    def segment(self, request: Mapping[str, Any], image: StudyImage, has_layers: bool) -> Segmented:
        if "labels" in request:
            prompts = self._automatic_masks(request, image)
        else:
            prompts = all_prompts(request, image, self.structures)
        shape = (image.clip.shape.rows, image.clip.shape.columns)
        names = [name for name in self.structures if any(prompt.structure == name for prompt in prompts)]
        tracked = np.zeros((image.clip.num_frames, len(names), *shape), bool)
        for frame, name, mask in self.model.propagate(image, prompts):
            tracked[frame, names.index(name)] = mask.numpy()
        indices = [self.structures.index(name) for name in names]
        frames = range(image.clip.num_frames)
        masks = ((frame, _spread(tracked[frame], indices, len(self.structures))) for frame in frames)
        annotation = collect_labels(masks, image, indices if has_layers else None)
        return Segmented(frames, names, annotation, {"propagated": names})

    def _automatic_masks(self, request: Mapping[str, Any], image: StudyImage) -> list[Prompt]:
        """Masks of ``labels`` on the frame ``slice``, as the model finds them."""
        names = request["labels"]
        if not isinstance(names, list) or not names:
            raise RefusedRequestError("labels must be a list of the structures to propagate")
        names = [structure_name(name, self.structures) for name in names]
        frame = image.check_frame(request.get("slice"))
        (masks,) = self.model.automatic(image, [frame])
        found = {name: torch.from_numpy(masks[self.structures.index(name)]) for name in names}
        absent = [name for name, mask in found.items() if not mask.any()]
        if absent:
            raise RefusedRequestError(f"the model finds no {', '.join(absent)} on frame {frame}: click it first")
        return [Prompt(name, frame, mask=mask) for name, mask in found.items()]


def collect_labels(
    masks: Iterable[tuple[int, np.ndarray]], image: StudyImage, layered: Sequence[int] | None = None
) -> Annotation:
    """Frames' masks as labels of the whole clip; the frames that are not given are empty.

    Args:
        masks: Index of a frame, and its masks ``(S, H, W)``.
        image: The clip.
        layered: Structures that get a layer each; None: one label map for all.
    """
    shape = image.clip.shape
    num_layers = 1 if layered is None else len(layered)
    layers = np.zeros((num_layers, shape.num_frames, shape.rows, shape.columns), np.uint8)
    for frame, of_frame in masks:
        layers[:, frame] = paint(of_frame) if layered is None else as_layers(of_frame, layered)
    return Annotation(layers)


def _requested_suffix(request: Mapping[str, Any], image: StudyImage) -> str:
    suffix = request.get("result_extension")
    if suffix is None:
        is_picture = Path(image.key[0]).suffix.lower() in STILL_SUFFIXES and image.clip.num_frames == 1
        return PICTURE_SUFFIX if is_picture else ".nii.gz"
    if suffix not in LABEL_SUFFIXES:
        raise RefusedRequestError(f"result_extension must be one of {', '.join(LABEL_SUFFIXES)}, got another")
    return str(suffix)


def _write(
    annotation: Annotation, image: StudyImage, frames: Sequence[int], suffix: str, structures: Sequence[str]
) -> Path:
    grid = image.grid
    if suffix == PICTURE_SUFFIX and len(frames) == 1:
        annotation, grid = Annotation(annotation.layers[:, frames]), Grid(grid.shape[:2], grid.affine)
    with tempfile.NamedTemporaryFile(prefix="label-", suffix=suffix, delete=False) as file:
        path = Path(file.name)
    try:
        return write_annotation(annotation, grid, structures, path)
    except BaseException:
        path.unlink()
        raise


def _spread(masks: np.ndarray, indices: Sequence[int], num_structures: int) -> np.ndarray:
    """Some structures' masks ``(P, H, W)`` at their places among all, ``(S, H, W)``."""
    spread = np.zeros((num_structures, *masks.shape[1:]), bool)
    spread[list(indices)] = masks
    return spread
