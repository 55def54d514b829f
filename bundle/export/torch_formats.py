"""PyTorch's own formats: an exported program (``.pt2``) and TorchScript."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from bundle.atomic import atomic_path


def export_program(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write what ``torch.export`` makes of a network; ``torch.export.load(path).module()`` runs it without our code.

    Args:
        network: Frames ``(B, 1, image_size, image_size)`` to one tensor; in evaluation mode. The batch stays free.
        image_size: Side of the frames.
        path: A ``.pt2`` file.
    """
    with atomic_path(path) as temporary:
        torch.export.save(exported_program(network, image_size), temporary)
    return Path(path)


def exported_program(network: nn.Module, image_size: int) -> torch.export.ExportedProgram:
    """The network as ``torch.export`` sees it, for any batch."""
    # An example of two frames: a batch of one would be taken for a constant.
    with torch.no_grad():
        return torch.export.export(
            network, (example_frames(image_size, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )


def export_torchscript(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write a traced network with its weights frozen in, batch normalisation folded into the convolutions.

    Args:
        network: As for :func:`export_program`.
        image_size: Side of the frames.
        path: A ``.ts`` file.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # every shape that is read while tracing; TorchScript's own end
        traced = torch.jit.trace(network, example_frames(image_size, 2), check_trace=False)
        with atomic_path(path) as temporary:
            torch.jit.save(torch.jit.freeze(traced.eval()), temporary)
    return Path(path)


def example_frames(image_size: int, batch_size: int) -> Tensor:
    """Frames ``(B, 1, image_size, image_size)`` in [0, 1], always the same."""
    return torch.rand(batch_size, 1, image_size, image_size, generator=torch.Generator().manual_seed(0))
