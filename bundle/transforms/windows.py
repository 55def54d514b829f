"""Whole labeled clips and windows of their frames: what training the memory sees."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Compose, Randomizable, Transform

from bundle.keys import CLIP, FRAME, IMAGE, LABEL, PATIENT, VALID
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

FRAMES_OF_CLIP = "frames"  # Entries of a clip's frames, before they are loaded


def group_clips(frames: Sequence[Mapping[str, Any]], min_length: int = 2) -> list[dict[str, Any]]:
    """Group a data list's frames by clip: ``{"frames": [...], "clip": str, "patient": str}``, in order of time.

    Clips of fewer labeled frames than ``min_length`` are left out; one must be long enough.
    """
    clips: dict[str, list[Mapping[str, Any]]] = {}
    for frame in frames:
        clips.setdefault(frame[CLIP], []).append(frame)
    longest = max((len(members) for members in clips.values()), default=0)
    if longest < min_length:
        raise ValueError(f"a clip needs {min_length} labeled frames, the longest of {len(clips)} clips has {longest}")
    return [
        {FRAMES_OF_CLIP: sorted(members, key=lambda frame: frame[FRAME]), CLIP: clip, PATIENT: members[0][PATIENT]}
        for clip, members in clips.items()
        if len(members) >= min_length
    ]


class LoadClipd(Transform):
    """Load all frames of a clip's entry, letterboxed.

    Gives ``image (T, H, W)``, ``label (T, S, H, W)`` uint8 and ``valid (1, H, W)``; passes ``clip`` and ``patient`` on.

    Args:
        structures: Label channels, in order.
        size: Side of the letterbox.
        finds_field_of_view: As of ``LoadFramed``.
    """

    def __init__(self, structures: Sequence[str], size: int, finds_field_of_view: bool = True) -> None:
        load = LoadFramed(structures, finds_field_of_view=finds_field_of_view)
        self._load = Compose([load, Letterboxd([IMAGE, LABEL], size)])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        frames = [self._load(entry) for entry in data[FRAMES_OF_CLIP]]
        return {
            CLIP: data[CLIP],
            PATIENT: data[PATIENT],
            IMAGE: torch.cat([frame[IMAGE] for frame in frames]),
            LABEL: torch.stack([frame[LABEL] for frame in frames]),
            VALID: frames[0][VALID],
        }


class Windowd(Transform):
    """The first frames of a loaded clip, as channels: what transforms of one frame then treat alike.

    Gives ``image (L, H, W)``, ``label (L * S, H, W)`` and ``frame``, the first one's place among the labeled frames.

    Args:
        length: Number of frames; fewer if the clip has fewer.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return take_frames(data, list(range(min(self.length, len(data[IMAGE])))))


class RandWindowd(Randomizable, Transform):
    """A random window of a loaded clip, as :class:`Windowd` gives it: any start, every k-th frame, half reversed.

    Args:
        length: Number of frames.
        max_step: Largest k.
    """

    def __init__(self, length: int, max_step: int = 1) -> None:
        if length < 2 or max_step < 1:
            raise ValueError(f"a window needs 2 frames and a step of 1 or more, got {length} and {max_step}")
        self.length, self.max_step = length, max_step

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return take_frames(data, self.draw(len(data[IMAGE])))

    def draw(self, num_frames: int) -> list[int]:
        """Draw the frames' places, in the order in which they are shown."""
        if num_frames < self.length:
            raise ValueError(f"a window has {self.length} frames, the clip {num_frames}")
        step = int(self.R.randint(1, min(self.max_step, (num_frames - 1) // (self.length - 1)) + 1))
        start = int(self.R.randint(0, num_frames - (self.length - 1) * step))
        frames = [start + index * step for index in range(self.length)]
        return frames[::-1] if self.R.random() < 0.5 else frames


def take_frames(data: Mapping[Hashable, Any], frames: Sequence[int]) -> dict[Hashable, Any]:
    """Frames of a loaded clip, image and label with frames (and structures) as channels."""
    return {
        **data,
        IMAGE: data[IMAGE][list(frames)],
        LABEL: data[LABEL][list(frames)].flatten(0, 1),
        FRAME: frames[0],
    }
