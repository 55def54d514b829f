"""Weights are read whole, from the right file, or not at all."""

import hashlib
import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bundle.weights import WeightsError, load_strict, read_state_dict


class RunsCode:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.fixture
def state():
    return {"weight": torch.eye(2), "bias": torch.ones(2)}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_every_published_format_is_read(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.testing.assert_close(read_state_dict(path), state)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict", "teacher", "student", "ema", "my_net"])
def test_weights_wrapped_in_a_training_checkpoint_are_found(tmp_path, state, wrapper):
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({wrapper: state, "optimizer": optimizer, "epoch": 3}, tmp_path / "weights.pt")
    torch.testing.assert_close(read_state_dict(tmp_path / "weights.pt"), state)


def test_weights_wrapped_several_times_are_found(tmp_path, state):
    torch.save({"checkpoint": {"model": {"state_dict": state}, "step": 1}, "epoch": 3}, tmp_path / "weights.pt")
    torch.testing.assert_close(read_state_dict(tmp_path / "weights.pt"), state)


def test_one_of_several_sets_of_weights_is_not_guessed(tmp_path, state):
    torch.save({"student": state, "teacher": state, "epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"holds several sets of weights, 'student', 'teacher': save the one that"):
        read_state_dict(tmp_path / "weights.pt")


def test_weights_beside_their_average_are_taken_with_a_word(tmp_path, state, caplog):
    average = {name: value + 1 for name, value in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": average}, tmp_path / "beside.pt")
    torch.testing.assert_close(read_state_dict(tmp_path / "beside.pt"), state)
    assert "beside.pt: the weights under 'state_dict' are taken, of 'state_dict', 'state_dict_ema'" in caplog.text


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "teacher.", "module._orig_mod.model.", "0."])
def test_what_wrappers_put_before_every_name_is_left_out_and_named(tmp_path, state, prefix, caplog):
    caplog.set_level(logging.WARNING)
    module = nn.Linear(2, 2)
    path = tmp_path / f"{prefix}pt"
    load_strict(module, {f"{prefix}{name}": value for name, value in state.items()}, path)
    torch.testing.assert_close(dict(module.state_dict()), state)
    assert f"'{prefix}' before every name is left out" in caplog.text


def test_a_prefix_of_the_module_itself_is_kept(tmp_path, state, caplog):
    module = nn.ModuleDict({"model": nn.Linear(2, 2)})
    load_strict(module, {f"model.{name}": value for name, value in state.items()}, tmp_path / "own.pt")
    load_strict(module, {f"model.model.{name}": value for name, value in state.items()}, tmp_path / "twice.pt")
    torch.testing.assert_close(dict(module["model"].state_dict()), state)
    assert [record.getMessage() for record in caplog.records] == ["twice.pt: 'model.' before every name is left out"]


def test_ignored_parts_may_stand_below_or_beside_a_wrapper(tmp_path, state):
    module = nn.Linear(2, 2)
    nested = {f"module.backbone.{name}": value for name, value in state.items()} | {"module.head.weight": torch.ones(1)}
    load_strict(module, nested, tmp_path / "nested.pt", ignore_prefixes=["head."])
    torch.testing.assert_close(dict(module.state_dict()), state)


def test_an_averaged_model_is_read_without_its_counter(tmp_path):
    module = nn.Linear(2, 2)
    averaged = torch.optim.swa_utils.AveragedModel(module)
    torch.save(averaged.state_dict(), tmp_path / "averaged.pt")
    other = nn.Linear(2, 2)
    load_strict(other, read_state_dict(tmp_path / "averaged.pt"), tmp_path / "averaged.pt")
    torch.testing.assert_close(other.state_dict(), module.state_dict())


def test_after_a_prefix_is_left_out_matching_is_as_strict_as_ever(tmp_path, state):
    names = {f"module.{name}": value for name, value in state.items()}
    with pytest.raises(WeightsError, match=r"1 unexpected \(extra\)"):
        load_strict(nn.Linear(2, 2), names | {"module.extra": torch.ones(1)}, tmp_path)
    with pytest.raises(WeightsError, match=r"1 unexpected \(extra\)"):
        load_strict(nn.Linear(2, 2), state | {"extra": torch.ones(1)}, tmp_path)
    with pytest.raises(WeightsError, match=r"2 missing .*, 2 unexpected \(module.scale, module.shift\)"):
        load_strict(nn.Linear(2, 2), {"module.scale": torch.ones(1), "module.shift": torch.ones(1)}, tmp_path)


def test_a_file_that_could_run_code_is_not_opened(tmp_path, capsys):
    torch.save({"weight": torch.eye(2), "extra": RunsCode()}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"weights.pt holds more than tensors.*safetensors"):
        read_state_dict(tmp_path / "weights.pt")
    assert "never be printed" not in capsys.readouterr().out


def test_the_checksum_is_checked_before_the_file_is_opened(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(read_state_dict(path, right.upper())) == {"weight", "bias"}
    with pytest.raises(WeightsError, match=f"weights.pt has sha256 {right}, expected 00ff; .* fetch it again"):
        read_state_dict(path, "00ff")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_named(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match=rf"weights{suffix} .*"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "described"), [([1, 2], "a list"), ({"epoch": 3}, "a dictionary with epoch"), ({}, "nothing in it")]
)
def test_a_file_without_tensors_is_refused(tmp_path, content, described):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=f"expected named tensors .*, got .*{described}"):
        read_state_dict(tmp_path / "weights.pt")


def test_loading_fills_every_tensor_and_keeps_the_module_s_precision(tmp_path, state):
    module = nn.Linear(2, 2)
    load_strict(module, {key: value.half() for key, value in state.items()}, tmp_path)
    torch.testing.assert_close(dict(module.state_dict()), state)


def test_missing_unexpected_and_mismatched_tensors_are_all_named(tmp_path):
    wrong = {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}
    with pytest.raises(WeightsError) as error:
        load_strict(nn.Linear(2, 2), wrong, tmp_path / "other.pt")
    for words in ("other.pt does not fit Linear", "1 missing (bias)", "1 unexpected (scale)", "weight is (3, 2), not"):
        assert words in str(error.value)


def test_a_module_is_left_untouched_by_weights_that_do_not_fit(tmp_path, state):
    module = nn.Linear(2, 2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError):
        load_strict(module, {"weight": state["weight"]}, tmp_path)
    torch.testing.assert_close(dict(module.state_dict()), before)


def test_only_named_parts_are_left_out(tmp_path, state):
    load_strict(nn.Linear(2, 2), state | {"decoder.weight": torch.ones(1)}, tmp_path, ignore_prefixes=["decoder."])
    with pytest.raises(WeightsError, match=r"1 unexpected \(encoder.weight\)"):
        load_strict(nn.Linear(2, 2), state | {"encoder.weight": torch.ones(1)}, tmp_path, ignore_prefixes=["decoder."])


def test_one_tensor_under_two_names_is_refused(tmp_path, state):
    twice = state | {"old.weight": torch.zeros(2, 2)}
    with pytest.raises(WeightsError, match="same tensor under two names"):
        load_strict(nn.Linear(2, 2), twice, tmp_path, published_name=lambda key: key.removeprefix("old."))


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
    pytest.importorskip("onnx")
    path, net = tmp_path / "net.onnx", Net().eval()
    torch.onnx.export(net, (torch.zeros(1, 1, 4, 4),), path, dynamo=False)
    state = read_state_dict(path)
    assert not [name for name in state if name.startswith("onnx::")]
    for name in ("conv.weight", "conv.bias", "fc.weight", "fc.bias"):
        torch.testing.assert_close(state[name], net.state_dict()[name])
    folded = torch.cat([net.position, net.position[:, :1]], dim=1)
    assert any(value.shape == folded.shape and torch.equal(value, folded) for value in state.values())


def test_a_file_that_is_no_graph_is_one_line(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "net.onnx").write_bytes(b"\xff\xff no graph")
    with pytest.raises(WeightsError, match=r"net.onnx is broken or incomplete \(no ONNX graph") as caught:
        read_state_dict(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
