"""Any timm or transformers backbone becomes a teacher with its own weights."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    ConvNextV2Config,
    ConvNextV2Model,
    ViTConfig,
    ViTModel,
)

from bundle.teachers.backbone import (
    TimmBackbone,
    load_timm_backbone,
    load_transformers_backbone,
    random_transformers_backbone,
)
from bundle.teachers.base import ImageInput, Teacher
from bundle.teachers.convert import sum_over_depth
from bundle.weights import WeightsError

GRAY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def gray(size: int) -> ImageInput:
    return ImageInput(size, **GRAY)


@pytest.fixture
def vit_folder(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    return tmp_path, model


@pytest.mark.parametrize(
    ("name", "input_size", "channels", "grid"),
    [
        ("resnet10t", 64, 512, 2),
        ("convnext_atto", 64, 320, 2),
        ("vit_tiny_patch16_224", 224, 192, 14),
        ("swin_tiny_patch4_window7_224", 224, 768, 7),
        ("tiny_vit_5m_224", 64, 320, 2),
    ],
)
def test_channels_and_grid_of_a_timm_model_are_found(name, input_size, channels, grid):
    encoder = TimmBackbone(name, input_size)
    assert (encoder.embed_dim, encoder.grid_size) == (channels, grid)


def test_a_transformer_s_special_tokens_are_dropped():
    encoder = TimmBackbone("vit_tiny_patch16_224", 224).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        tokens = encoder.model.forward_features(images)
        torch.testing.assert_close(encoder(images).flatten(2).transpose(1, 2), tokens[:, 1:])


def test_a_timm_model_brings_its_own_normalization_unless_told():
    assert TimmBackbone("resnet10t", 32).mean == (0.485, 0.456, 0.406)
    assert TimmBackbone("resnet10t", 32, **GRAY).mean == (0.5, 0.5, 0.5)


def test_a_timm_checkpoint_loads_strictly(tmp_path):
    model = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    teacher = load_timm_backbone("mine", TimmBackbone("resnet10t", 64, **GRAY), tmp_path)
    frames = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = model.forward_features((frames.expand(-1, 3, -1, -1) - 0.5) / 0.5)
    torch.testing.assert_close(teacher(frames), expected)
    with pytest.raises(WeightsError, match="does not fit ResNet"):
        load_timm_backbone("mine", TimmBackbone("resnet18", 64), tmp_path)


def test_nothing_computed_from_the_random_weights_survives_loading(tmp_path):
    # TinyViT caches its attention biases when it runs in evaluation mode, as it does to find its grid.
    model = timm.create_model("tiny_vit_5m_224", pretrained=False).eval()
    state = {key: v + 0.5 if "attention_biases" in key else v for key, v in model.state_dict().items()}
    model.load_state_dict(state)
    save_file(state, tmp_path / "model.safetensors")
    teacher = load_timm_backbone("mine", TimmBackbone("tiny_vit_5m_224", 64, **GRAY), tmp_path)
    with torch.no_grad():
        expected = model.forward_features(torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(teacher(torch.full((1, 1, 64, 64), 0.5)), expected)


def test_a_classifier_of_other_classes_is_left_out_only_when_named(tmp_path):
    save_file(timm.create_model("resnet10t", num_classes=3).state_dict(), tmp_path / "model.safetensors")

    def load(**arguments):
        encoder = TimmBackbone("resnet10t", 32, model_arguments={"num_classes": 0})
        return load_timm_backbone("mine", encoder, tmp_path, **arguments)

    assert load(ignore_prefixes=("fc.",)).is_frozen
    with pytest.raises(WeightsError, match=r"2 unexpected \(fc.bias, fc.weight\)"):
        load()


def test_an_unknown_timm_name_lists_alike_ones():
    with pytest.raises(ValueError, match=r"timm has no model 'resnet10x'; .* resnet10t"):
        TimmBackbone("resnet10x", 64)


def test_a_transformers_folder_gives_the_model_s_patch_tokens(vit_folder):
    folder, model = vit_folder
    teacher = load_transformers_backbone("mine", folder, gray(32))
    frames = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        tokens = model((frames.expand(-1, 3, -1, -1) - 0.5) / 0.5).last_hidden_state
    assert (teacher.embed_dim, teacher.grid_size) == (8, 4)
    torch.testing.assert_close(teacher(frames).flatten(2).transpose(1, 2), tokens[:, 1:])


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_layer_is_the_model_s_hidden_state_and_blocks_above_it_are_left_out(tmp_path, layer):
    config = ViTConfig(image_size=32, patch_size=8, **{**SMALL, "num_hidden_layers": 3})
    model = ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    teacher = load_transformers_backbone("mine", tmp_path, gray(32), layer=layer)
    frames = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        states = model((frames.expand(-1, 3, -1, -1) - 0.5) / 0.5, output_hidden_states=True).hidden_states
    torch.testing.assert_close(teacher(frames).flatten(2).mT, states[layer][:, 1:])
    assert len({key for key in teacher.state_dict() if key.endswith("layernorm_before.weight")}) == min(layer + 1, 3)


def test_a_layer_that_there_is_not_is_one_line(vit_folder):
    with pytest.raises(ValueError, match=r"layer 5 of transformers' ViTModel cannot take .*out of range"):
        load_transformers_backbone("mine", vit_folder[0], gray(32), layer=5)
    with pytest.raises(ValueError, match="layer counts hidden states from 0, the embeddings, got -1"):
        load_transformers_backbone("mine", vit_folder[0], gray(32), layer=-1)


def test_a_file_alone_needs_a_config_and_may_have_names_of_its_own(vit_folder, tmp_path):
    folder, model = vit_folder
    config = {"model_type": "vit", "image_size": 32, "patch_size": 8, **SMALL}
    path = tmp_path / "alone.pt"
    torch.save({f"net_{key}": value for key, value in model.state_dict().items()}, path)

    def convert(state):
        return {key.removeprefix("net_"): value for key, value in state.items()}

    teacher = load_transformers_backbone("mine", path, gray(32), config=config, convert=convert)
    reference = load_transformers_backbone("mine", folder, gray(32))
    frames = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(teacher(frames), reference(frames))
    random = random_transformers_backbone(config, gray(32))
    assert random.state_dict().keys() == teacher.encoder.state_dict().keys()
    with pytest.raises(ValueError, match=r"config {'model_type': 'mine'} is of no model that transformers itself has"):
        random_transformers_backbone({"model_type": "mine"}, gray(32))


def test_a_timm_file_with_tensors_of_another_shape_is_converted_first(tmp_path):
    state = timm.create_model("resnet10t").state_dict()
    deep = {key: value[:, :, None] if value.ndim == 4 else value for key, value in state.items()}
    torch.save(deep, tmp_path / "deep.pt")
    teacher = load_timm_backbone("mine", TimmBackbone("resnet10t", 32), tmp_path / "deep.pt", convert=sum_over_depth)
    torch.testing.assert_close(teacher.encoder.model.state_dict(), state)


def test_a_convolutional_transformers_model_gives_its_last_map(tmp_path):
    model = ConvNextV2Model(ConvNextV2Config(hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1])).eval()
    model.save_pretrained(tmp_path)
    teacher = load_transformers_backbone("mine", tmp_path, gray(64))
    assert (teacher.embed_dim, teacher.grid_size) == (16, 2)


def test_a_tensor_missing_from_a_transformers_folder_is_an_error(vit_folder):
    folder, _ = vit_folder
    state = load_file(folder / "model.safetensors")
    del state["layernorm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"does not fit the ViTModel .*: missing layernorm.weight"):
        load_transformers_backbone("mine", folder, gray(32))
    assert load_transformers_backbone("mine", folder, gray(32), ignore_prefixes=("layernorm.",)).is_frozen


def test_another_size_than_the_folder_s_config_is_an_error(vit_folder):
    folder, _ = vit_folder
    state = load_file(folder / "model.safetensors")
    state["layernorm.weight"] = torch.ones(3)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"model.safetensors does not fit .*: mismatched layernorm.weight"):
        load_transformers_backbone("mine", folder, gray(32))


def test_a_wrong_checksum_is_an_error(vit_folder):
    with pytest.raises(WeightsError, match="expected 00ff"):
        load_transformers_backbone("mine", vit_folder[0], gray(32), sha256="00ff")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (
            "vit_tiny_patch16_224",
            {},
            r"cannot take images \(3, 128, 128\) .*timm states the input \(3, 224, 224\); .*img_size",
        ),
        (
            "swin_tiny_patch4_window7_224",
            {},
            r"cannot take images \(3, 128, 128\) .*model_arguments=.\"img_size\": 128",
        ),
        ("resnet10t", {"level": 9}, "level 9 of timm's resnet10t cannot take images .*index 9 is out of range"),
        ("resnet10t", {"model_arguments": {"in_chans": 1}}, "three equal channels: leave in_chans of resnet10t at 3"),
        ("resnet10t", {"model_arguments": {"imgsize": 1}}, "timm's resnet10t cannot be made with .*'imgsize'"),
    ],
)
def test_a_timm_model_that_cannot_take_the_image_is_one_line_with_the_remedy(name, arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        TimmBackbone(name, 128, **arguments)
    assert "\n" not in str(caught.value)


def test_a_timm_transformer_takes_another_size_as_the_message_says():
    assert TimmBackbone("vit_tiny_patch16_224", 128, model_arguments={"img_size": 128}).grid_size == 8


def test_normalization_needs_a_number_per_channel():
    with pytest.raises(ValueError, match=r"mean of teacher 'mine' needs three numbers, one per channel, got \(0\.5,\)"):
        Teacher("mine", TimmBackbone("resnet10t", 32, mean=(0.5,)), "random")


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.mark.parametrize("kind", ["clip", "bert", "another size"])
def test_a_folder_that_is_no_vision_model_of_this_size_is_one_line_with_the_remedy(tmp_path, kind, vit_folder):
    if kind == "clip":
        towers = {
            "text_config": {**SMALL, "vocab_size": 9},
            "vision_config": {**SMALL, "image_size": 32, "patch_size": 8},
        }
        CLIPModel(CLIPConfig(**towers)).save_pretrained(tmp_path)
    elif kind == "bert":
        BertModel(BertConfig(**SMALL, vocab_size=9)).save_pretrained(tmp_path)
    size = 64 if kind == "another size" else 32
    with pytest.raises(
        ValueError, match=rf"Model cannot take images \(3, {size}, {size}\) .*a vision model alone"
    ) as caught:
        load_transformers_backbone("mine", tmp_path, gray(size))
    assert "\n" not in str(caught.value)


def test_the_vision_part_of_a_clip_folder_is_a_teacher_as_the_message_says(tmp_path):
    towers = {"text_config": {**SMALL, "vocab_size": 9}, "vision_config": {**SMALL, "image_size": 32, "patch_size": 8}}
    CLIPModel(CLIPConfig(**towers)).vision_model.save_pretrained(tmp_path)
    assert load_transformers_backbone("mine", tmp_path, gray(32)).grid_size == 4


def test_code_in_a_folder_is_never_run_and_nobody_is_asked(vit_folder, monkeypatch):
    folder, _ = vit_folder
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('run')")
    with pytest.raises(
        ValueError, match=r"config\.json is of no model that transformers itself has, and code beside it"
    ):
        load_transformers_backbone("mine", folder, gray(32))


@pytest.mark.parametrize(
    "wrap", [lambda state: {"model": state}, lambda state: {f"module.{k}": state[k] for k in state}]
)
def test_wrapped_weights_of_a_transformers_folder_are_unwrapped(vit_folder, wrap):
    folder, model = vit_folder
    torch.save(wrap(model.state_dict()), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    teacher = load_transformers_backbone("mine", folder, gray(32))
    for name, value in teacher.encoder.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])
