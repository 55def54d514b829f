"""The weights inside an ONNX graph that PyTorch exported, under the names of the modules that they were in."""

from pathlib import Path

import torch
from torch import Tensor

from bundle.extras import needs_extra


def read_onnx_weights(path: Path) -> dict[str, Tensor]:
    """The graph's initializers; the graph is not run.

    PyTorch's exporter keeps a parameter's name unless it folded something: it transposes a linear layer's weight
    and counts constants. Those take the name of the node that reads them: a matrix product ``/block/fc/MatMul`` gives
    ``block.fc.weight``, transposed back; any other node gives its own name, such as ``embeddings.Concat_6``.

    Args:
        path: The ``.onnx`` file, tensors included.

    Raises:
        ValueError: If it is no such file.
    """
    with needs_extra("real-teachers", f"reading the weights in {path.name}"):
        import onnx
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own, of a package that only onnx asks for
        raise ValueError(f"no ONNX graph: {error}") from error
    readers = {name: node for node in reversed(graph.node) for name in node.input}
    state = {}
    for tensor in graph.initializer:
        name, value = tensor.name, torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        if name.startswith("onnx::") and name in readers:
            name = readers[name].name.strip("/").replace("/", ".")
            if readers[tensor.name].op_type == "MatMul":
                name, value = f"{name.rpartition('.')[0]}.weight", value.T.contiguous()
        state[name] = value
    return state
