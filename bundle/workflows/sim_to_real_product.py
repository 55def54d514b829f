"""The product's own inference path, ``configs/inference.json``, for films that are measured instead of written."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from bundle.data.phantom.study import PhantomStudy
from bundle.inference.study_dataset import StudyDataset
from bundle.keys import FIELD_OF_VIEW, FRAME, IMAGE
from bundle.teachers.checkpoint import file_sha256
from bundle.transforms.field_of_view import FRAMES_LOOKED_AT, Window, find_field_of_view
from bundle.workflows.sim_to_real_variants import Variant
from bundle.workflows.stages import ROOT


@dataclass(frozen=True)
class Product:
    """What ``configs/inference.json`` makes.

    Attributes:
        network: The segmenter.
        inferer: Letterbox, network, threshold.
        structures: Names of the channels.
        chunk_frames: Frames in a chunk.
        sha256: Of the weights.
        dataset: The film, in chunks, with the part of it that the network is to look at.
    """

    network: Callable[..., Tensor]
    inferer: Inferer
    structures: tuple[str, ...]
    chunk_frames: int
    sha256: str
    dataset: StudyDataset


def load_product(film: str | Path, checkpoint: str | Path, output_dir: str | Path) -> Product:
    """Make of ``configs/inference.json`` what segments a film.

    Args:
        film: A file.
        checkpoint: Weights, with their model card beside them.
        output_dir: For the table of results, which says why a film could not be read.
    """
    config = ConfigParser()
    config.read_config(ROOT / "configs" / "inference.json")
    config.read_meta(ROOT / "configs" / "metadata.json")
    paths = {"input": film, "checkpoint": checkpoint, "output_dir": output_dir, "bundle_root": ROOT}
    config.update({name: str(path) for name, path in paths.items()})
    return Product(
        network=config.get_parsed_content("network").eval(),
        inferer=config.get_parsed_content("inferer"),
        structures=tuple(config.get_parsed_content("structures")),
        chunk_frames=config.get_parsed_content("batch_size"),
        sha256=file_sha256(checkpoint),
        dataset=config.get_parsed_content("dataset"),
    )


def film_chunks(product: Product) -> Iterator[MetaTensor]:
    """Frames of the film ``(n, 1, H, W)``, as the product's network gets them."""
    return (chunk[IMAGE] for chunk in product.dataset)


def study_chunks(study: PhantomStudy, chunk_frames: int) -> Iterator[MetaTensor]:
    """The same of a synthetic study."""
    view = find_field_of_view(study.frames[:FRAMES_LOOKED_AT])
    for first in range(0, len(study.frames), chunk_frames):
        frames = torch.from_numpy(study.frames[first : first + chunk_frames])
        yield MetaTensor(frames, meta={FRAME: first, FIELD_OF_VIEW: view})


def segment(chunks: Iterable[MetaTensor], product: Product, variant: Variant) -> Iterator[tuple[np.ndarray, Window]]:
    """Change frames and segment them.

    Returns:
        Chunk by chunk: masks of the whole frames ``(n, S, H, W)`` bool, and the part that the network looks at.
    """
    view: Window | None = None
    for chunk in chunks:
        frames = np.array(chunk.as_tensor())
        view = _view(chunk, frames, variant) if view is None else view
        part = (..., *view.slices())
        frames[part] = np.stack([variant.change(frame) for frame in frames[part][:, 0]])[:, None]
        image = MetaTensor(torch.from_numpy(frames), meta={**chunk.meta, FIELD_OF_VIEW: view})
        yield product.inferer(image, product.network).numpy(), view


def _view(chunk: MetaTensor, frames: np.ndarray, variant: Variant) -> Window:
    rows, columns = frames.shape[-2:]
    whole = Window(0, rows, 0, columns)
    noted = chunk.meta.get(FIELD_OF_VIEW)
    found = whole if noted is None else Window(*map(int, noted))
    if variant.darkest is None:
        return found
    tighter = find_field_of_view(np.where(frames > variant.darkest, frames, 0.0))
    return found if tighter == whole else tighter
