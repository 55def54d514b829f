"""ONNX Runtime on the CPU."""

from pathlib import Path

import torch
from torch import Tensor

from bundle.extras import needs_extra

with needs_extra("deploy", "ONNX Runtime"):
    import onnxruntime


class OnnxEngine:
    """An ONNX file with one input and one output.

    Args:
        path: As ``export_onnx`` writes it, or quantised.
        num_threads: Threads of one inference; None: as many as there are cores.
    """

    def __init__(self, path: str | Path, num_threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0
        options.inter_op_num_threads = 1
        # Threads that wait for work would take the cores from those that decode and write.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name

    def __call__(self, frames: Tensor) -> Tensor:
        """Output of the network; other threads run meanwhile."""
        (output,) = self.session.run(None, {self.input_name: frames.contiguous().numpy()})
        return torch.from_numpy(output)
