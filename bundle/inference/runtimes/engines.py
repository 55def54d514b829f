"""What computes logits at stride 4 from frames: PyTorch, TorchScript, ONNX Runtime, OpenVINO.

Each takes frames ``(B, 1, size, size)`` float32 and gives ``(B, S, size/4, size/4)`` float32, both on the CPU.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bundle.extras import needs_extra

Engine = Callable[[Tensor], Tensor]


class TorchEngine:
    """A network in evaluation mode in PyTorch, moved to a device; bfloat16 by autocast.

    ``num_threads`` are those of PyTorch's operators, set for the whole process; None leaves them as they are.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, precision: str = "float32", num_threads: int | None = None
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self.autocasts = precision == "bfloat16"
        if num_threads is not None:
            torch.set_num_threads(num_threads)

    @classmethod
    def of_torchscript(cls, path: Path, num_threads: int | None = None) -> "TorchEngine":
        """A TorchScript file on the CPU."""
        network = torch.jit.load(path, map_location="cpu").eval()
        return cls(network, torch.device("cpu"), num_threads=num_threads)

    def __call__(self, frames: Tensor) -> Tensor:
        """Output of the network."""
        casting = torch.autocast(self.device.type, torch.bfloat16) if self.autocasts else contextlib.nullcontext()
        with torch.inference_mode(), casting:
            return self.network(frames.to(self.device)).float().cpu()


class OnnxEngine:
    """An ONNX file as ``export_onnx`` writes it, or quantised, on the CPU; ``num_threads`` None: as many as cores."""

    def __init__(self, path: str | Path, num_threads: int | None = None) -> None:
        with needs_extra("deploy", "ONNX Runtime"):
            import onnxruntime

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


class OpenVinoEngine:
    """An OpenVINO model on the CPU, one frame per request, the requests of a batch spread over streams.

    Args:
        path: The ``.xml`` file; its ``.bin`` lies beside it.
        image_size: Side of the frames; the graph is compiled for this size alone.
        precision: "bfloat16" computes what is not quantised in bfloat16; any other word in float32.
        num_threads: Threads of all streams together; None: as many as there are cores.
        num_streams: Frames computed at the same time, each by its share of the threads; None: what OpenVINO takes for
            the most frames per second, at the price of a longer wait for each.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: int,
        precision: str = "float32",
        num_threads: int | None = None,
        num_streams: int | None = 1,
    ) -> None:
        core = _openvino_core()
        model = core.read_model(path)
        model.reshape([1, 1, image_size, image_size])
        config: dict[str, Any] = {
            # Else OpenVINO takes bfloat16 by itself where the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": num_threads or 0,
        }
        config |= {"PERFORMANCE_HINT": "THROUGHPUT"} if num_streams is None else {"NUM_STREAMS": num_streams}
        self.compiled = core.compile_model(model, "CPU", config)
        count = self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.requests = [self.compiled.create_infer_request() for _ in range(count)]
        self.shape = tuple(self.compiled.output(0).shape)[1:]

    def __call__(self, frames: Tensor) -> Tensor:
        """Output of the network; other threads run meanwhile."""
        values = frames.contiguous().numpy()
        output = np.empty((len(values), *self.shape), np.float32)
        for start in range(0, len(values), len(self.requests)):
            running = list(zip(range(start, len(values)), self.requests, strict=False))
            for index, request in running:
                request.start_async({0: values[index : index + 1]})
            for index, request in running:
                request.wait()
                output[index] = request.get_output_tensor(0).data[0]
        return torch.from_numpy(output)


def processor_has_bfloat16() -> bool:
    """Whether this processor computes bfloat16 itself, as OpenVINO sees it."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino_core() -> Any:
    from bundle.export.formats import shared_core  # OpenVINO itself is loaded there

    return shared_core()
