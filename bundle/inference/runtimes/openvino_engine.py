"""OpenVINO on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bundle.export.formats import shared_core


class OpenVinoEngine:
    """An OpenVINO model, one frame per request, the requests of a batch spread over streams.

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
        core = shared_core()
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
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
