"""Studies one by one, in chunks of frames, for MONAI's evaluator; what cannot be read is recorded and left out."""

from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from bundle.data.clip import Clip, NoImageError, UnreadableStudyError
from bundle.data.prefetch import prefetched
from bundle.data.reader import check_aspect, with_aspect
from bundle.data.readers import FrameChunk, stream_clip
from bundle.inference.folder import Study, study_key
from bundle.inference.results import DUPLICATE, NO_IMAGE, REFUSED, StudyResult, StudyResults
from bundle.keys import FIELD_OF_VIEW, FRAME, IMAGE, PIXEL_ASPECT
from bundle.transforms.field_of_view import FRAMES_LOOKED_AT, Window, find_field_of_view

STUDY_KEY, SOURCE, FIRST_FRAME, CLIP = "study_key", "source", "first_frame", "clip"


class StudyDataset(IterableDataset):
    """Yields every study that is to be done and can be read, in chunks that are batches: no collating.

    A chunk is ``{"image": (n, 1, H, W), "study_key", "source", "first_frame", "clip"}``: with first frame 0 whatever
    came before of the study is void; the last one has the ``Clip`` without frames, the others None.

    Studies that an earlier run has finished are recorded and left out. Iterable, since only reading shows how many
    there are: one damaged file must not stop the others. A study that turns out damaged after some of its chunks is
    recorded as refused, and its last chunk never comes. An error that is not about the file does stop the run.

    Args:
        data: Studies, as from ``find_input``; gone through once for every run, one after the other.
        results: Where refusals are recorded.
        chunk_frames: Frames per chunk, and so per mini-batch of the network.
        strict: Whether a video that is cut off is refused, instead of read as far as it goes, with a warning.
        pixel_aspect: Height of a pixel divided by its width, for sources without a pixel spacing. None: as they state.
        progress: Whether to show progress bars.
        finds_field_of_view: Whether the network looks at the picture without a recording's black border, as found in
            the first frames of each study. Masks are of the whole frame all the same.
        finished: Called with each study, while its files are there, and what became of it.

    Raises:
        ValueError: If ``chunk_frames`` or ``pixel_aspect`` is not positive.
    """

    def __init__(
        self,
        data: Iterable[str | Path | tuple[Path, ...]],
        results: StudyResults,
        chunk_frames: int = 8,
        strict: bool = False,
        pixel_aspect: float | None = None,
        progress: bool = True,
        finds_field_of_view: bool = True,
        finished: Callable[[Study, StudyResult], None] | None = None,
    ) -> None:
        if chunk_frames < 1:
            raise ValueError(f"chunk_frames must be positive, got {chunk_frames}")
        check_aspect(pixel_aspect)
        self.data = data
        self.results = results
        self.chunk_frames = chunk_frames
        self.strict = strict
        self.pixel_aspect = pixel_aspect
        self.progress = progress
        self.finds_field_of_view = finds_field_of_view
        self.finished = finished

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if get_worker_info() is not None:
            raise ValueError("StudyDataset records results in its own process: use num_workers 0")
        self.results.reset()
        for source in tqdm(self.data, desc="studies", unit="study", disable=not self.progress):
            study = Path(source) if isinstance(source, str) else source
            key = self._key_if_to_do(study)
            if key is not None:
                yield from self._chunks(study, key)
            if self.finished is not None:
                self.finished(study, self.results.studies[-1])

    def _key_if_to_do(self, study: Study) -> str | None:
        path, key = _path_of(study), ""
        try:
            key = study_key(study)
            known: StudyResult | None = self.results.find_finished(key, path)
            if self.results.is_known(key):
                known = StudyResult(path, key, DUPLICATE, "same content as an earlier study of this run")
        except OSError as error:
            known = StudyResult(path, key, REFUSED, error.strerror or "no such file or folder")
        if known is not None:
            self.results.add(known)
        return key if known is None else None

    def _chunks(self, study: Study, key: str) -> Iterator[dict[str, Any]]:
        """Each chunk waits for the next one, so that the last comes with what the end tells of the clip."""
        waiting: dict[str, Any] = {}
        items = prefetched(self._shown(stream_clip(study, self.chunk_frames, self.strict)))
        bar = tqdm(desc="segment", unit="frame", disable=not self.progress, leave=False)
        try:
            for item, image in items:
                is_void = isinstance(item, FrameChunk) and item.first == 0  # decoding has started anew
                if waiting and not is_void:
                    yield {**waiting, CLIP: item if isinstance(item, Clip) else None}
                if isinstance(item, FrameChunk):
                    waiting = {IMAGE: image, FIRST_FRAME: item.first, STUDY_KEY: key, SOURCE: str(_path_of(study))}
                    bar.total, bar.n = item.expected, item.first
                    bar.update(len(item.stored))
        except UnreadableStudyError as error:
            status = NO_IMAGE if isinstance(error, NoImageError) else REFUSED
            self.results.add(StudyResult(_path_of(study), key, status, error.reason))
        finally:
            items.close()
            bar.close()

    def _shown(
        self, items: Iterator[FrameChunk | Clip]
    ) -> Generator[tuple[FrameChunk | Clip, MetaTensor | None], None, None]:
        """Chunks with the frames as the network takes them; the clip with the user's word about its pixels.

        Chunks are held until there are as many frames as the field of view is looked for in.
        """
        held: list[tuple[FrameChunk, np.ndarray]] = []
        view: Window | None = None
        for item in items:
            if isinstance(item, FrameChunk):
                if item.first == 0:  # also where decoding has started anew
                    held, view = [], None
                held.append((item, item.shown()))
            is_enough = isinstance(item, Clip) or item.first + len(item.stored) >= FRAMES_LOOKED_AT
            if view is None and held and is_enough:
                frames = [frames for _, frames in held]
                whole = Window.whole(*frames[0].shape[-2:])
                seen = np.concatenate(frames)[:FRAMES_LOOKED_AT]
                view = find_field_of_view(seen) if self.finds_field_of_view else whole
            if view is not None:
                yield from ((chunk, self._image(chunk, frames, view)) for chunk, frames in held)
                held = []
            if isinstance(item, Clip):
                yield with_aspect(item, self.pixel_aspect), None

    def _image(self, chunk: FrameChunk, frames: np.ndarray, view: Window) -> MetaTensor:
        aspect = chunk.pixel_aspect if self.pixel_aspect is None or chunk.has_spacing else self.pixel_aspect
        meta = {PIXEL_ASPECT: aspect, FRAME: chunk.first, FIELD_OF_VIEW: view}
        return MetaTensor(torch.from_numpy(frames), meta=meta)


def as_it_is(chunk: dict[str, Any]) -> dict[str, Any]:
    """For a data loader's ``collate_fn``, with ``batch_size=None``: a chunk is a batch already."""
    return chunk


def _path_of(study: Study) -> Path:
    return study if isinstance(study, Path) else study[0]
