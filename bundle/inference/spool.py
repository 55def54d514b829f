"""Masks and pictures of a film of any length, on the disk until its results are written.

The files have no name, so nothing of a patient stays after a crash, and lie in the folder of the results, which must
have room for these anyway. Both behave like arrays of which one frame is taken at a time.
"""

import os
import tempfile
import weakref
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from bundle.data.clip import Clip, as_picture
from bundle.inference.parts.hold_together import HeldFilm
from bundle.metrics.cropped import CroppedMask

WAITING = 2
"""Chunks that may wait for the disk; a third makes the inference wait."""


class MaskSpool:
    """Masks ``(T, S, H, W)``, each kept as the bits of the box around it, in whole bytes of a row.

    ``spool[t]`` are the masks of a frame, ``(S, H, W)`` bool, and ``spool[t, s]`` is one of them, as of an array.
    """

    dtype = np.dtype(bool)

    def __init__(self, folder: str | Path, num_structures: int, rows: int, columns: int) -> None:
        self._file = _BlockFile(folder)
        self._frame_shape = (num_structures, rows, columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, S, H, W)``."""
        return (len(self._file), *self._frame_shape)

    def __len__(self) -> int:
        return len(self._file)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | tuple[int, int]) -> np.ndarray:
        frame, structure = index if isinstance(index, tuple) else (index, None)
        num_structures, rows, columns = self._frame_shape
        wanted = range(num_structures) if structure is None else [structure]
        masks = np.zeros((len(wanted), rows, columns), bool)
        for mask, part in zip(masks, self._parts(frame, wanted), strict=True):
            mask[part.box] = part.pixels
        return masks if structure is None else masks[0]

    def cropped(self, frame: int) -> list[CroppedMask]:
        """Each mask of a frame without what is empty around it."""
        return self._parts(frame, range(self._frame_shape[0]))

    def _parts(self, frame: int, wanted: Iterable[int]) -> list[CroppedMask]:
        block, num_structures = self._file.read(frame), self._frame_shape[0]
        boxes = np.frombuffer(block, np.int32, 4 * num_structures).reshape(-1, 4)
        widths = -(-boxes[:, 3] // 8) - boxes[:, 2] // 8  # in bytes
        sizes = (boxes[:, 1] - boxes[:, 0]) * widths
        starts = boxes.nbytes + np.cumsum(sizes) - sizes
        parts = []
        for number in wanted:
            top, bottom, left, right = boxes[number].tolist()
            bits = np.frombuffer(block, np.uint8, sizes[number], starts[number]).reshape(bottom - top, widths[number])
            pixels = np.unpackbits(bits, axis=1).view(bool)
            parts.append(CroppedMask(top, left, pixels[:, left % 8 : left % 8 + right - left]))
        return parts

    def append(self, masks: np.ndarray) -> None:
        """Add the masks of the next frame, ``(S, H, W)`` bool."""
        if masks.shape != self._frame_shape:
            raise ValueError(f"masks of a frame must be (S, H, W) = {self._frame_shape}, got {masks.shape}")
        bits = np.packbits(masks, axis=-1)
        has_rows = np.asarray(np.any(bits, axis=2))
        has_columns = np.unpackbits(np.bitwise_or.reduce(bits, axis=1), axis=1)
        boxes = np.zeros((len(masks), 4), np.int32)
        parts: list[bytes] = []
        for number in np.flatnonzero(has_rows.any(axis=1)):
            rows, columns = np.flatnonzero(has_rows[number]), np.flatnonzero(has_columns[number])
            boxes[number] = top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            parts.append(bits[number, top:bottom, left // 8 : -(-right // 8)].tobytes())
        self._file.append(b"".join([boxes.tobytes(), *parts]))

    def close(self) -> None:
        """Give the disk's space back."""
        self._file.close()


class PictureSpool:
    """Frames ``(T, 1, H, W)`` as pictures of 8 bits, which is what overlays and reports show of them."""

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: str | Path, rows: int, columns: int) -> None:
        self._file = _BlockFile(folder)
        self._frame_shape = (1, rows, columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, 1, H, W)``."""
        return (len(self._file), *self._frame_shape)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.frombuffer(self._file.read(index), np.uint8).reshape(self._frame_shape)

    def append(self, frame: np.ndarray) -> None:
        """Add the next frame, ``(1, H, W)`` in [0, 1]."""
        if frame.shape != self._frame_shape:
            raise ValueError(f"a frame must be (1, H, W) = {self._frame_shape}, got {frame.shape}")
        self._file.append(as_picture(frame).tobytes())

    def close(self) -> None:
        """Give the disk's space back."""
        self._file.close()


class SpooledStudy:
    """Takes the chunks of one study and puts them on the disk beside the inference, in a thread of its own.

    Args:
        folder: Where the spools lie.
        masks_shape: ``(S, H, W)`` of a frame.
        keeps_pictures: Whether an output shows frames; else none are kept.
        held: What holds the masks together; None: they are kept as they come.

    Attributes:
        masks: All masks so far, once ``finish`` has returned.
        brightest: Each pixel's highest value over all frames ``(H, W)``, from which the visible field is found.
    """

    def __init__(
        self, folder: str | Path, masks_shape: tuple[int, int, int], keeps_pictures: bool, held: HeldFilm | None = None
    ) -> None:
        self.masks = MaskSpool(folder, *masks_shape)
        self.brightest = np.zeros(masks_shape[1:], np.float32)
        self._pictures = PictureSpool(folder, *masks_shape[1:]) if keeps_pictures else None
        self._held = held
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: deque[Future] = deque()
        self.num_frames = 0

    def add(self, frames: np.ndarray, masks: np.ndarray) -> None:
        """Take frames ``(n, 1, H, W)`` in [0, 1] and masks ``(n, S, H, W)`` bool, which may not change afterwards.

        An error of an earlier chunk, such as a full disk, is raised here or by ``finish``.
        """
        self.num_frames += len(frames)
        self._waiting.append(self._thread.submit(self._write, frames, masks))
        while len(self._waiting) > WAITING:
            self._waiting.popleft().result()

    def finish(self, clip: Clip) -> Clip:
        """Wait for the disk; the clip with the pictures as its frames, if they are kept."""
        while self._waiting:
            self._waiting.popleft().result()
        for masks in self._held.finish() if self._held else ():
            self.masks.append(masks)
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
            for ready in self._held.add(masks[index]) if self._held else (masks[index],):
                self.masks.append(ready)
            if self._pictures is not None:
                self._pictures.append(frames[index])


class _BlockFile:
    """Blocks of bytes in a file without a name; where each begins is kept in memory, 8 bytes a block."""

    def __init__(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open until the results are written
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, block: bytes) -> None:
        view = memoryview(block)
        self._file.seek(self._ends[-1])
        while view:
            view = view[self._file.write(view) :]
        self._ends.append(self._ends[-1] + len(block))

    def read(self, index: int) -> bytes:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        first = index % len(self)
        start, end = self._ends[first], self._ends[first + 1]
        return os.pread(self._file.fileno(), end - start, start)  # writers read at the same time

    def close(self) -> None:
        self._file.close()
