"""Prompts on any frames of a clip, carried through all of it by SAM 2's video predictor (arXiv 2408.00714, section 4).

SAM 2 reads frames from a folder or a file before it starts; here the student encodes them when they are needed, and the
predictor finds their features in its cache.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from bundle.segmentation.prompting import Prompt, full_size_mask
from bundle.segmentation.segmenter import ImageFeatures, Segmenter
from bundle.segmentation.structure_decoder import StructureDecoder
from bundle.transforms.letterbox import LetterboxGeometry, letterbox

NUM_ENCODED = 8
"""Encoded frames that are kept, 4 MB each at 512 x 512: an annotator's clicks come to the same frame again."""

MAX_KEPT = 256
"""Tracked frames that each structure keeps, about 0.2 MB each at 512 x 512: what corrections start from."""


class TrackedMask(NamedTuple):
    """One structure in one frame."""

    frame: int
    structure: str
    mask: Tensor
    """``bool (H, W)``, on the clip's own pixels."""


class ClipTracker:
    """Carry prompted structures through one clip, forwards and backwards, and take corrections.

    Every structure has its own state in SAM 2's predictor, because structures overlap and may be prompted on different
    frames; all share the encoded frames. Memory does not grow with the clip.

    Args:
        segmenter: In evaluation mode.
        predictor: From :func:`bundle.segmentation.sam2.load_tracker` with the same segmenter.
        clip: ``(T, 1, H, W)`` in [0, 1]; may stay on the CPU.
        pixel_aspect: Height of the clip's pixels divided by their width.
        max_kept: Tracked frames that each structure keeps.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        predictor: SAM2VideoPredictor,
        clip: Tensor,
        pixel_aspect: float = 1.0,
        max_kept: int = MAX_KEPT,
    ) -> None:
        if clip.ndim != 4 or clip.shape[1] != 1 or len(clip) == 0:
            raise ValueError(f"clip must be grayscale frames (T, 1, H, W), at least one, got {tuple(clip.shape)}")
        if predictor.image_size != segmenter.image_size:
            raise ValueError(f"the predictor takes {predictor.image_size} pixels, not {segmenter.image_size}")
        if not isinstance(predictor.sam_mask_decoder, StructureDecoder):
            raise ValueError("the predictor must track named structures: make it with sam2.load_tracker")
        needed = max(predictor.num_maskmem, predictor.max_obj_ptrs_in_encoder)
        if max_kept < needed:
            raise ValueError(f"max_kept must be at least {needed}, the frames that memory looks back, got {max_kept}")
        self.segmenter, self.predictor, self.clip, self.max_kept = segmenter, predictor, clip, max_kept
        rows, columns = clip.shape[2:]
        self.geometry = LetterboxGeometry(int(rows), int(columns), segmenter.image_size, float(pixel_aspect))
        self._states: dict[str, dict[str, Any]] = {}
        self._given: dict[tuple[str, int], Tensor] = {}
        self._encoded: OrderedDict[int, dict[int, Any]] = OrderedDict()

    @property
    def structures(self) -> list[str]:
        """Structures that have been prompted, in the order of the segmenter's."""
        return [name for name in self.segmenter.structures if name in self._states]

    @torch.inference_mode()
    def prompt(self, prompt: Prompt) -> Tensor:
        """The mask on the prompt's frame, ``bool (H, W)``; :meth:`track` carries it on.

        A structure's first prompt starts it. Points on another frame *correct* what was carried there from the earlier
        prompts, which is done now if it has not been; a box or a mask starts the structure afresh on its frame. All
        prompted frames stay in memory. A prompt replaces what was said of the structure in that frame: give all points
        of a frame together.

        Raises:
            ValueError: If structure, frame or a point is not in the clip.
        """
        prompt.check(self.segmenter.structures, len(self.clip), self.geometry.rows, self.geometry.columns)
        state = self._states.setdefault(prompt.structure, self._new_state(prompt.structure))
        if prompt.box is None and prompt.mask is None:
            self._track_to(state, prompt.frame)
        else:
            _forget(state, prompt.frame)
        logits = self._add(state, prompt)
        place = (prompt.structure, prompt.frame)
        if prompt.mask is not None:
            self._given[place] = torch.as_tensor(prompt.mask).bool().cpu()
            return self._given[place]
        self._given.pop(place, None)
        return full_size_mask(logits, self.geometry).cpu()

    def track(self, max_frames: int | None = None) -> Iterator[TrackedMask]:
        """Carry all prompted structures from their first prompted frames to the clip's end, then to its start.

        Yields:
            Every structure in every frame reached, each once; at most ``max_frames`` in each direction.
        """
        if not self._states:
            raise ValueError("nothing to track: give a prompt for a structure first")
        reach = len(self.clip) if max_frames is None else max_frames
        starts = {name: min(_prompted_frames(self._states[name])) for name in self.structures}
        for frame in range(min(starts.values()), len(self.clip)):
            for name, start in starts.items():
                if start <= frame <= start + reach:
                    yield self._tracked(name, frame, reverse=False)
        for frame in range(max(starts.values()) - 1, -1, -1):
            for name, start in starts.items():
                if start - reach <= frame < start:
                    yield self._tracked(name, frame, reverse=True)

    @torch.inference_mode()
    def _tracked(self, name: str, frame: int, reverse: bool) -> TrackedMask:
        logits = self._step(self._states[name], frame, reverse)
        given = self._given.get((name, frame))
        mask = full_size_mask(logits, self.geometry).cpu() if given is None else given
        return TrackedMask(frame, name, mask)

    def _track_to(self, state: dict[str, Any], frame: int) -> None:
        """Have the structure tracked to a frame from the nearest prompted one, unless it is prompted or tracked."""
        prompted = _prompted_frames(state)
        if not prompted or frame in prompted or frame in state["frames_tracked_per_obj"][0]:
            return
        nearest = min(prompted, key=lambda other: abs(other - frame))
        step = 1 if frame > nearest else -1
        for index in range(nearest, frame + step, step):
            self._step(state, index, reverse=step < 0)

    def _add(self, state: dict[str, Any], prompt: Prompt) -> Tensor:  # -> logits (1, 1, size, size)
        self._prepare(state, prompt.frame)
        mask = prompt.sam_mask(self.geometry)
        if mask is None:
            points, labels = prompt.sam_points(self.geometry)
            answer = self.predictor.add_new_points_or_box(state, prompt.frame, prompt.structure, points, labels)
        else:
            answer = self.predictor.add_new_mask(state, prompt.frame, prompt.structure, mask)
        self.predictor.propagate_in_video_preflight(state)  # remembers the frame while its features are at hand
        return answer[-1]

    def _step(self, state: dict[str, Any], frame: int, reverse: bool) -> Tensor:  # -> logits (1, 1, size/4, size/4)
        """One frame of ``SAM2VideoPredictor.propagate_in_video``, which cannot end at frame 0 and draws a bar."""
        self._prepare(state, frame)
        outputs = state["output_dict_per_obj"][0]
        output = outputs["cond_frame_outputs"].get(frame)
        if output is None:
            output, _ = self.predictor._run_single_frame_inference(
                inference_state=state,
                output_dict=outputs,
                frame_idx=frame,
                batch_size=1,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                reverse=reverse,
                run_mem_encoder=True,
            )
            outputs["non_cond_frame_outputs"].pop(frame, None)  # so that the latest comes last
            outputs["non_cond_frame_outputs"][frame] = output
        state["frames_tracked_per_obj"][0][frame] = {"reverse": reverse}
        self._drop_oldest(state)
        return output["pred_masks"].to(self.predictor.device)

    def _drop_oldest(self, state: dict[str, Any]) -> None:
        tracked = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
        while len(tracked) > self.max_kept:
            oldest = next(iter(tracked))
            del tracked[oldest]
            state["frames_tracked_per_obj"][0].pop(oldest, None)

    def _prepare(self, state: dict[str, Any], frame: int) -> None:
        """Name the structure, and put the frame's features where the predictor looks for them first."""
        self.predictor.sam_mask_decoder.ask_for(state["structure"])
        if frame not in self._encoded:
            while len(self._encoded) >= NUM_ENCODED:
                self._encoded.popitem(last=False)
            square, _ = letterbox(
                self.clip[frame : frame + 1].as_subclass(Tensor).to(self.predictor.device, torch.float32),
                self.segmenter.image_size,
                self.geometry.pixel_aspect,
            )
            features = self.segmenter.encode(square)
            self._encoded[frame] = {frame: (square, backbone_output(self.predictor, features))}
        self._encoded.move_to_end(frame)
        state["cached_features"] = self._encoded[frame]

    def _new_state(self, structure: str) -> dict[str, Any]:
        """What ``SAM2VideoPredictor.init_state`` makes, for frames that are handed over one by one; and the name."""
        size = self.segmenter.image_size
        return {
            "structure": torch.tensor([self.segmenter.structures.index(structure)]),
            "images": (),
            "num_frames": len(self.clip),
            "offload_video_to_cpu": True,
            "offload_state_to_cpu": True,
            "video_height": size,
            "video_width": size,
            "device": self.predictor.device,
            "storage_device": torch.device("cpu"),
            "point_inputs_per_obj": {},
            "mask_inputs_per_obj": {},
            "cached_features": {},
            "constants": {},
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
            "output_dict_per_obj": {},
            "temp_output_dict_per_obj": {},
            "frames_tracked_per_obj": {},
        }


def backbone_output(predictor: SAM2VideoPredictor, features: ImageFeatures) -> dict[str, list[Tensor]]:
    """Features as ``SAM2Base.forward_image`` gives them; of the positions at strides 4 and 8 only the size is used."""
    embedding, (stride_4, stride_8) = features
    neck = predictor.image_encoder.neck
    sizes = [embedding.new_zeros(1, 1, 1, 1).expand(len(level), 1, *level.shape[-2:]) for level in (stride_4, stride_8)]
    position = neck.position_encoding(embedding).to(embedding.dtype)
    return {"backbone_fpn": [stride_4, stride_8, embedding], "vision_pos_enc": [*sizes, position]}


def track_clip(
    segmenter: Segmenter,
    predictor: SAM2VideoPredictor,
    clip: Tensor,
    prompts: Iterable[Prompt],
    pixel_aspect: float = 1.0,
) -> tuple[list[str], Tensor]:
    """Masks of the prompted structures in a whole clip, for clips whose masks fit into memory.

    Later points correct what the earlier prompts led to; the other arguments are those of :class:`ClipTracker`.

    Returns:
        Names of the prompted structures, in the segmenter's order, and their masks ``bool (T, S, H, W)``.
    """
    tracker = ClipTracker(segmenter, predictor, clip, pixel_aspect)
    for prompt in prompts:
        tracker.prompt(prompt)
    names = tracker.structures
    masks = torch.zeros(len(clip), len(names), *clip.shape[-2:], dtype=torch.bool)
    for frame, name, mask in tracker.track():
        masks[frame, names.index(name)] = mask
    return names, masks


def _prompted_frames(state: dict[str, Any]) -> set[int]:
    parts = [state[key].get(0, {}) for key in ("point_inputs_per_obj", "mask_inputs_per_obj")]
    return set().union(*parts)


def _forget(state: dict[str, Any], frame: int) -> None:
    """Have the predictor see a frame as new."""
    for key in ("output_dict_per_obj", "temp_output_dict_per_obj"):
        for outputs in state[key].get(0, {}).values():
            outputs.pop(frame, None)
    state["frames_tracked_per_obj"].get(0, {}).pop(frame, None)
