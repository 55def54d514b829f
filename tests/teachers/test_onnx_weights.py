"""The weights of an exported graph come back under the names of the module that was exported."""

import pytest
import torch
from torch import nn

from bundle.teachers.checkpoint import CheckpointError, read_state_dict

onnx = pytest.importorskip("onnx")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.fc = nn.Linear(2, 3)
        self.position = nn.Parameter(torch.randn(1, 2))

    def forward(self, images):  # (1, 1, 4, 4) -> (1, 16, 3)
        positions = torch.cat([self.position, self.position[:, :1]], dim=1)
        return self.fc(self.conv(images).flatten(2).transpose(1, 2)) + positions


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parameters_and_folded_constants_have_names(tmp_path):
    path, net = tmp_path / "net.onnx", Net().eval()
    torch.onnx.export(net, (torch.zeros(1, 1, 4, 4),), path, dynamo=False)
    state = read_state_dict(path)
    assert not [name for name in state if name.startswith("onnx::")]
    for name in ("conv.weight", "conv.bias", "fc.weight", "fc.bias"):
        torch.testing.assert_close(state[name], net.state_dict()[name])
    folded = torch.cat([net.position, net.position[:, :1]], dim=1)
    assert any(value.shape == folded.shape and torch.equal(value, folded) for value in state.values())


def test_a_file_that_is_no_graph_is_one_line(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\xff\xff no graph")
    with pytest.raises(CheckpointError, match=r"net.onnx is broken or incomplete \(no ONNX graph") as caught:
        read_state_dict(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
