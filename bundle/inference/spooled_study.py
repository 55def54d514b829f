"""A study on its way: masks and pictures come in chunks and go to the disk beside the inference."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from bundle.data.clip import Clip
from bundle.inference.spool import MaskSpool, PictureSpool

WAITING = 2
"""Chunks that may wait for the disk; a third makes the inference wait."""


class SpooledStudy:
    """Takes the chunks of one study, in a thread of its own.

    Args:
        folder: Where the spools lie.
        masks_shape: ``(S, H, W)`` of a frame.
        keeps_pictures: Whether an output shows frames; else none are kept.

    Attributes:
        masks: All masks so far, once ``finish`` has returned.
        brightest: Each pixel's highest value over all frames ``(H, W)``, from which the visible field is found.
    """

    def __init__(self, folder: str | Path, masks_shape: tuple[int, int, int], keeps_pictures: bool) -> None:
        self.masks = MaskSpool(folder, *masks_shape)
        self.brightest = np.zeros(masks_shape[1:], np.float32)
        self._pictures = PictureSpool(folder, *masks_shape[1:]) if keeps_pictures else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: deque[Future] = deque()
        self.num_frames = 0

    def add(self, frames: np.ndarray, masks: np.ndarray) -> None:
        """Take a chunk; an error of an earlier one, such as a full disk, is raised here or by ``finish``.

        Args:
            frames: ``(n, 1, H, W)`` in [0, 1].
            masks: ``(n, S, H, W)`` bool. Neither may change afterwards.
        """
        self.num_frames += len(frames)
        self._waiting.append(self._thread.submit(self._write, frames, masks))
        while len(self._waiting) > WAITING:
            self._waiting.popleft().result()

    def finish(self, clip: Clip) -> Clip:
        """Wait for the disk; the clip with the pictures as its frames, if they are kept."""
        while self._waiting:
            self._waiting.popleft().result()
        return clip if self._pictures is None else replace(clip, stored=self._pictures, displays=())

    def close(self) -> None:
        """Give everything back."""
        self._thread.shutdown(cancel_futures=True)
        self.masks.close()
        if self._pictures is not None:
            self._pictures.close()

    def _write(self, frames: np.ndarray, masks: np.ndarray) -> None:
        np.maximum(self.brightest, frames.max(axis=(0, 1)), out=self.brightest)
        for index in range(len(frames)):
            self.masks.append(masks[index])
            if self._pictures is not None:
                self._pictures.append(frames[index])
