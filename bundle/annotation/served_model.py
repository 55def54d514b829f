"""The model that answers annotators: reloaded when it is promoted, with the encodings of the latest frames kept."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from cachetools import LRUCache, cachedmethod
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor, nn

from bundle.annotation.images import StudyImage
from bundle.annotation.options import CACHE_MEGABYTES
from bundle.annotation.refusals import RefusedRequestError
from bundle.export.model_card import load_segmenter, read_model_card
from bundle.paths import ROOT
from bundle.segmentation.named import answer_by_name
from bundle.segmentation.prompting import EncodedFrame, Prompt, PromptedMask, encode_frame
from bundle.segmentation.propagation import ClipTracker, TrackedMask
from bundle.segmentation.sam2 import load_tracker
from bundle.segmentation.segmenter import Segmenter
from bundle.transforms.letterbox import unletterbox
from bundle.weights import file_sha256

NUM_SAMPLED = 8  # frames of a clip that its uncertainty is taken from, evenly spread

# Name and version as ``configs/inference.json`` states them.
BUNDLE = {
    "name": "vfss-agglomerative-distillation",
    "version": json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"],
}

FileVersion = tuple[str, int, int]  # path, size and time of change of a file of weights


class ServedModel:
    """A segmenter in a file that may be replaced while the server runs; the card beside it says how it is built."""

    def __init__(self, checkpoint: Callable[[], Path], memory: Path, cache_megabytes: float = CACHE_MEGABYTES) -> None:
        self.structures = tuple(read_model_card(checkpoint())["structures"])
        self.checkpoint = checkpoint
        self.memory = memory
        self.encodings: LRUCache[object, EncodedFrame] = LRUCache(cache_megabytes * 2**20, num_bytes_of)
        self._lock = threading.RLock()
        self._loaded: tuple[FileVersion, Segmenter] | None = None
        self._tracker: tuple[Segmenter, SAM2VideoPredictor] | None = None

    @property
    def version(self) -> FileVersion:
        """Changes whenever another file is served."""
        path = self.checkpoint()
        stat = path.stat()
        return str(path), stat.st_size, stat.st_mtime_ns

    def segmenter(self) -> Segmenter:
        """The segmenter of the file as it is now."""
        with self._lock:
            version = self.version
            if self._loaded is None or self._loaded[0] != version:
                with torch.inference_mode(mode=False):  # a tracker that shares its student is filled later
                    self._loaded = (version, self._load(Path(version[0])))
                self.encodings.clear()
            return self._loaded[1]

    def _load(self, checkpoint: Path) -> Segmenter:
        try:
            segmenter = load_segmenter(checkpoint).to(memory_format=torch.channels_last)
        except (ValueError, OSError) as error:
            raise RefusedRequestError(f"the served model cannot be loaded: {error}", status=503) from error
        if tuple(segmenter.structures) != self.structures:
            raise RefusedRequestError("the served model has other structures than before: start the server again", 503)
        return segmenter

    def identity(self) -> dict[str, str]:
        """Name, version and checksum of what answers, for DICOM's algorithm identification."""
        return {**BUNDLE, "sha256": _checksum(self.version)}

    def tracker(self) -> SAM2VideoPredictor:
        """SAM 2's video predictor for the segmenter of the file as it is now."""
        if not self.memory.is_file():
            raise RefusedRequestError(
                "propagation needs trained weights of SAM 2's memory, and this server was started without", status=501
            )
        with self._lock:
            segmenter = self.segmenter()
            if self._tracker is None or self._tracker[0] is not segmenter:
                try:
                    with torch.inference_mode(mode=False):
                        self._tracker = (segmenter, load_tracker(segmenter, self.memory))
                except ValueError as error:
                    raise RefusedRequestError(str(error), status=501) from None
            return self._tracker[1]

    def click(self, image: StudyImage, prompt: Prompt) -> PromptedMask:
        """The mask that a prompt means in its frame of a clip."""
        with self._lock:
            segmenter, encoded = self.segmenter(), self._encoded(image, prompt.frame)
            answer = answer_by_name(segmenter, encoded, _in_view(image, replace(prompt, frame=0)))
        return answer._replace(mask=_put_back(image, answer.mask))

    def automatic(self, image: StudyImage, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """Masks ``(S, H, W)``, bool, of some frames of a clip."""
        for frame in frames:
            yield _put_back(image, self._logits(image, frame, keep=len(frames) == 1) > 0).numpy()

    def propagate(self, image: StudyImage, prompts: Sequence[Prompt]) -> Iterator[TrackedMask]:
        """Carry prompted structures through a whole clip; see :class:`ClipTracker`.

        Points and boxes are answered on their frame as :meth:`click` answers them, and that mask is carried on.
        """
        with self._lock:
            segmenter, predictor = self.segmenter(), self.tracker()
            clip = torch.from_numpy(image.clip.frames)[(..., *image.view.slices())]
            tracker = ClipTracker(segmenter, predictor, clip, image.clip.pixel_aspect)
            for prompt in prompts:
                tracker.prompt(_in_view(image, self._as_mask(image, prompt)))
            for tracked in tracker.track():
                yield tracked._replace(mask=_put_back(image, tracked.mask))

    def _as_mask(self, image: StudyImage, prompt: Prompt) -> Prompt:
        if prompt.mask is not None:
            return prompt
        return Prompt(prompt.structure, prompt.frame, mask=self.click(image, prompt).mask)

    def uncertainty(self, image: StudyImage) -> float:
        """Mean doubt over a few frames of a clip; see :func:`doubt`."""
        frames = np.unique(np.linspace(0, image.clip.num_frames - 1, NUM_SAMPLED).round().astype(int))
        return float(np.mean([doubt(self._logits(image, int(frame), keep=False)) for frame in frames]))

    @torch.inference_mode()
    def _logits(self, image: StudyImage, frame: int, keep: bool) -> Tensor:  # (S, H, W) of the field of view
        with self._lock:
            segmenter = self.segmenter()
            encoded = self._encoded(image, frame) if keep else _encode(segmenter, image, frame)
            output = segmenter.decode_structures(encoded.features)
        masks = torch.minimum(output.masks, output.presence[:, :, None, None])
        size = (segmenter.image_size, segmenter.image_size)
        square = nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return unletterbox(square, encoded.geometry)[0]

    @cachedmethod(attrgetter("encodings"), key=lambda _self, image, frame: (image.key, frame))
    def _encoded(self, image: StudyImage, frame: int) -> EncodedFrame:
        return _encode(self.segmenter(), image, frame)


@lru_cache(maxsize=4)
def _checksum(version: FileVersion) -> str:
    return file_sha256(version[0])


def doubt(logits: Tensor) -> float:
    """Entropy of all pixels' probabilities, in bits, per pixel that is expected inside: 0 where the model is sure."""
    probability = logits.double().sigmoid()
    entropy = torch.special.entr(probability) + torch.special.entr(1 - probability)
    return float(entropy.sum() / np.log(2) / probability.sum().clamp(min=1.0))


def num_bytes_of(encoded: EncodedFrame) -> int:
    """Memory of a frame's features."""
    features = encoded.features
    return sum(tensor.nbytes for tensor in (features.embedding, *features.high_res_features))


def _encode(segmenter: Segmenter, image: StudyImage, frame: int) -> EncodedFrame:
    return encode_frame(segmenter, image.frame(frame)[(..., *image.view.slices())], image.clip.pixel_aspect)


def _in_view(image: StudyImage, prompt: Prompt) -> Prompt:
    try:
        return prompt.within(image.view)
    except ValueError as error:
        raise RefusedRequestError(str(error)) from None


def _put_back(image: StudyImage, masks: Tensor) -> Tensor:
    return image.view.put_back(masks, image.clip.shape.rows, image.clip.shape.columns)
