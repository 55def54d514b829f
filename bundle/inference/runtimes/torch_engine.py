"""PyTorch as a runtime: the network itself, or TorchScript."""

import contextlib
from pathlib import Path

import torch
from torch import Tensor, nn


class TorchEngine:
    """A network in PyTorch, on a CPU or GPU.

    Args:
        network: From frames to one tensor; in evaluation mode.
        device: Where it computes; it is moved there.
        precision: "float32" or "bfloat16" (by autocast).
        num_threads: Threads of PyTorch's operators, set for the whole process; None leaves them as they are.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, precision: str = "float32", num_threads: int | None = None
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self.autocasts = precision == "bfloat16"
        if num_threads is not None:
            torch.set_num_threads(num_threads)

    def __call__(self, frames: Tensor) -> Tensor:
        """Output of the network, float32 on the CPU."""
        casting = torch.autocast(self.device.type, torch.bfloat16) if self.autocasts else contextlib.nullcontext()
        with torch.inference_mode(), casting:
            return self.network(frames.to(self.device)).float().cpu()


class TorchScriptEngine:
    """A TorchScript file on the CPU.

    Args:
        path: As ``export_torchscript`` writes it.
        num_threads: As for ``TorchEngine``.
    """

    def __init__(self, path: str | Path, num_threads: int | None = None) -> None:
        self.network = torch.jit.load(path, map_location="cpu").eval()
        if num_threads is not None:
            torch.set_num_threads(num_threads)

    def __call__(self, frames: Tensor) -> Tensor:
        """Output of the network."""
        with torch.inference_mode():
            return self.network(frames)
