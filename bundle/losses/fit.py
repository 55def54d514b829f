"""Run the frozen teachers once over training frames and build their standardizers; later runs reuse the file.

With several processes each measures its share of the frames; the merged statistics are the same on all of them.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bundle.keys import IMAGE, VALID
from bundle.losses.statistics import FeatureStatistics, load_statistics, save_statistics
from bundle.ranks import from_first_rank, gather, rank, world_size
from bundle.weights import weights_sha256

FRAMES = ", frames "
"""In the source of statistics, what stands before the frames' id."""

logger = logging.getLogger(__name__)


def fit_standardizers(
    teachers: Mapping[str, nn.Module],
    frames: Iterable[Mapping[str, Any]],
    kind: Callable[..., Any],
    path: str | Path | None = None,
    num_batches: int | None = None,
    frames_id: str | None = "",
) -> dict[str, nn.Module]:
    """Build one standardizer per teacher, in the teachers' order, from features of training frames.

    Args:
        teachers: Frozen teachers by name.
        frames: Batches with ``image`` ``(B, 1, H, W)`` and, where frames are padded, ``valid``, such as a data loader
            over *training* patients; read only if the statistics are not yet in ``path``. Of several processes each
            gives its own frames.
        kind: A class of :mod:`bundle.losses.standardize`, or any function from statistics to a standardizer.
        path: Safetensors file of the statistics, reused for every teacher whose weights, input size and ``frames_id``
            are the same.
        num_batches: How many batches to use, in all processes together; all if None.
        frames_id: What tells these frames from others, such as a checksum of the data list and the transforms; None
            takes the file's statistics of whatever frames.
    """
    statistics = fit_statistics(teachers, frames, path, num_batches, frames_id)
    build = getattr(kind, "from_statistics", kind)
    return {name: build(statistics[name]) for name in teachers}


def fit_statistics(
    teachers: Mapping[str, nn.Module],
    frames: Iterable[Mapping[str, Any]],
    path: str | Path | None = None,
    num_batches: int | None = None,
    frames_id: str | None = "",
) -> dict[str, FeatureStatistics]:
    """Feature statistics of every teacher, from ``path`` where they fit and measured where not.

    The first of several processes reads and writes the file, and decides for all what fits.
    """
    is_stored = path is not None and Path(path).is_file() and rank() == 0
    known = from_first_rank(load_statistics(path) if path is not None and is_stored else {})
    wanted = {name: empty_statistics(teacher, frames_id or "") for name, teacher in teachers.items()}
    of_any_frames = frames_id is None
    missing = {name: teachers[name] for name in wanted if not _fits(known.get(name), wanted[name], name, of_any_frames)}
    if missing:
        own = None if num_batches is None else len(range(rank(), num_batches, world_size()))
        _measure(missing, wanted, itertools.islice(frames, own), own)
        wanted = {name: _of_all_ranks(entry) if name in missing else entry for name, entry in wanted.items()}
    result = {name: wanted[name] if name in missing else known[name] for name in teachers}
    if missing and path is not None and rank() == 0:
        save_statistics({**known, **result}, path)
    for name, entry in result.items() if rank() == 0 else ():
        entry.warn_if_small(name)
    return result


def _of_all_ranks(own: FeatureStatistics) -> FeatureStatistics:
    """One statistics of what all processes have seen, to the last bit the same on all of them."""
    first, *others = gather(own)
    for other in others:
        first.merge(other)
    if first.num_images == 0:
        raise ValueError("feature statistics need at least one batch of training frames, got none: check the data list")
    return first


def empty_statistics(teacher: nn.Module, frames_id: str) -> FeatureStatistics:
    """Statistics of no features yet, with the ``source`` by which a file of them is known to fit."""
    source = f"weights {weights_sha256(teacher)} at {teacher.input_size} pixels{FRAMES}{frames_id or 'not named'}"
    return FeatureStatistics(int(teacher.embed_dim), source)  # type: ignore[arg-type]


def _fits(known: FeatureStatistics | None, wanted: FeatureStatistics, name: str, of_any_frames: bool) -> bool:
    if known is None:
        return False
    sources = [known.source, wanted.source]
    if of_any_frames:
        sources = [source.partition(FRAMES)[0] for source in sources]
    fits = known.num_channels == wanted.num_channels and sources[0] == sources[1]
    if not fits:
        logger.warning(
            "the stored feature statistics of %r are of other weights, frames or input size: measuring them again",
            name,
        )
    return fits


@torch.no_grad()
def _measure(
    teachers: Mapping[str, nn.Module],
    statistics: Mapping[str, FeatureStatistics],
    batches: Iterable[Mapping[str, Any]],
    num_batches: int | None,
) -> None:
    title = "teachers' feature statistics"
    for batch in tqdm(batches, total=num_batches, desc=title, unit="batch", disable=rank() > 0):
        for name, teacher in teachers.items():
            device = next(itertools.chain(teacher.parameters(), teacher.buffers())).device
            image: Tensor = batch[IMAGE].to(device)
            coverage = teacher.valid_grid(batch[VALID].to(device)) if VALID in batch else None  # type: ignore[operator]
            statistics[name].update(teacher(image), coverage)
