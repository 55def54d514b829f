"""The student inside SAM 2: one pass for all structures, prompts as SAM 2 answers them."""

import pytest
import torch
from torch import nn

from bundle.segmentation.segmenter import Segmenter, convolve_both
from bundle.segmentation.training import TrainingSegmenter, parameter_groups
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

FRAMES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_logits_have_one_channel_per_structure_at_full_resolution(segmenter):
    assert segmenter(FRAMES).shape == (2, 3, 64, 64)


@torch.no_grad()
def test_a_frame_is_segmented_alike_alone_and_in_a_batch(segmenter):
    torch.testing.assert_close(segmenter(FRAMES)[1:], segmenter(FRAMES[1:]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_all_structures_take_one_pass_of_the_decoders_transformer(segmenter):
    calls = []
    segmenter.mask_decoder.transformer.register_forward_hook(lambda *_: calls.append(1))
    segmenter(FRAMES)
    assert len(calls) == 1


@torch.no_grad()
def test_a_structure_that_is_judged_absent_has_no_pixel(segmenter):
    head = segmenter.structure_queries.quality.layers[-1]
    nn.init.zeros_(head.weight)
    head.bias.copy_(torch.tensor([0.0, -3.0]))  # presence logit -3 for every structure
    nn.init.constant_(segmenter.structure_queries.hypernetwork.layers[-1].bias, 5.0)
    assert segmenter.decode_structures(segmenter.encode(FRAMES)).masks.max() > 0, "masks alone would show something"
    assert segmenter(FRAMES).max() <= -3.0


def test_two_convolutions_in_a_row_are_one():
    first, second = nn.Conv2d(5, 16, 1), nn.Conv2d(16, 4, 1)
    features = torch.rand(2, 5, 8, 8)
    expected = second(first(features))
    torch.testing.assert_close(convolve_both(features, first, second), expected)
    expected.sum().backward()
    gradient = first.weight.grad.clone()
    first.weight.grad = None
    convolve_both(features, first, second).sum().backward()
    torch.testing.assert_close(first.weight.grad, gradient)


@torch.no_grad()
def test_the_encoding_is_sam_2s_own(segmenter):
    features, expected = segmenter.encode(FRAMES), segmenter.student(FRAMES)
    decoder = segmenter.mask_decoder
    torch.testing.assert_close(features.embedding, expected["vision_features"])
    torch.testing.assert_close(features.high_res_features[0], decoder.conv_s0(expected["backbone_fpn"][0]))
    torch.testing.assert_close(features.high_res_features[1], decoder.conv_s1(expected["backbone_fpn"][1]))


@pytest.mark.parametrize(("labels", "candidates"), [([1, -1, -1], 3), ([2, 3, -1], 1), ([1, 1, 0], 1)])
def test_an_ambiguous_point_has_three_answers_a_clear_prompt_one(segmenter, labels, candidates):
    points = torch.full((2, 3, 2), 20.0)
    output = TrainingSegmenter(segmenter)(FRAMES, points, torch.tensor([labels, labels], dtype=torch.int32))
    assert output["prompted"]["masks"].shape == (2, candidates, 16, 16)
    assert output["prompted"]["iou"].shape == (2, candidates)


@pytest.mark.parametrize(
    ("mode", "trained", "frozen"),
    [
        ("frozen", [], ["stem", "stages_0", "stages_3", "neck"]),
        ("last_stage", ["stages_3", "neck"], ["stem", "stages_0"]),
        ("full", ["stem", "stages_0", "stages_3", "neck"], []),
    ],
)
def test_what_is_frozen_keeps_weights_and_statistics(segmenter, mode, trained, frozen):
    groups = parameter_groups(segmenter, mode, encoder_lr=0.1, decoder_lr=0.1)
    network = TrainingSegmenter(segmenter)
    before = {name: value.clone() for name, value in segmenter.student.state_dict().items()}
    optimizer = torch.optim.SGD(groups)
    network.train()
    points, labels = torch.full((2, 3, 2), 20.0), torch.ones(2, 3, dtype=torch.int32)
    output = network(FRAMES, points, labels)
    (output["masks"].square().mean() + output["prompted"]["masks"].square().mean()).backward()
    optimizer.step()
    changed = {name for name, value in segmenter.student.state_dict().items() if not torch.equal(value, before[name])}
    for part in trained:
        assert any(part in name for name in changed), part
    for part in frozen:
        assert not any(part in name for name in changed), part


def test_every_trained_parameter_is_in_exactly_one_group(segmenter):
    groups = parameter_groups(segmenter, "last_stage", encoder_lr=0.1, decoder_lr=0.2)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in segmenter.parameters() if parameter.requires_grad}
    assert [group["lr"] for group in groups] == [0.2, 0.2, 0.1, 0.1]


def test_a_stage_learns_as_many_times_slower_as_it_is_shallower(segmenter):
    groups = parameter_groups(segmenter, "full", encoder_lr=0.1, decoder_lr=0.2, layer_decay=0.5)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert set(rates) == {id(parameter) for parameter in segmenter.parameters()}
    expected = {"stem": 0.00625, "stages_0": 0.0125, "stages_1": 0.025, "stages_2": 0.05, "stages_3": 0.1}
    for name, parameter in segmenter.student.trunk.backbone.named_parameters():
        part = next(part for part in expected if name.startswith(part))
        assert rates[id(parameter)] == pytest.approx(expected[part]), name
    assert {rates[id(parameter)] for parameter in segmenter.student.image_encoder.neck.parameters()} == {0.1}


def test_norms_biases_queries_tokens_and_positions_do_not_decay(segmenter):
    groups = parameter_groups(segmenter, "full", encoder_lr=0.1, decoder_lr=0.2)
    names = {id(parameter): name for name, parameter in segmenter.named_parameters()}
    spared = {names[id(p)] for group in groups if group.get("weight_decay") == 0 for p in group["params"]}
    many_dimensions = {name for name, parameter in segmenter.named_parameters() if parameter.ndim > 1}
    assert set(names.values()) - spared <= many_dimensions
    assert spared & many_dimensions == {
        *(f"prompt_encoder.point_embeddings.{kind}.weight" for kind in range(4)),
        "prompt_encoder.not_a_point_embed.weight",
        "prompt_encoder.no_mask_embed.weight",
        "mask_decoder.iou_token.weight",
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.obj_score_token.weight",
        "structure_queries.queries.weight",
    }


@pytest.mark.parametrize("layer_decay", [0.0, 1.5])
def test_an_impossible_layer_decay_is_refused(segmenter, layer_decay):
    with pytest.raises(ValueError, match=r"layer_decay must be in \(0, 1\]"):
        parameter_groups(segmenter, "full", 0.1, 0.1, layer_decay)


def test_an_unknown_way_of_training_the_encoder_is_refused(segmenter):
    with pytest.raises(ValueError, match=r"frozen.*last_stage.*full.*'half'"):
        parameter_groups(segmenter, "half", 0.1, 0.1)


@pytest.mark.parametrize(("structures", "size"), [((), 64), (("a", "a"), 64), (("a",), 100)])
def test_what_cannot_be_segmented_is_refused(structures, size):
    with pytest.raises(ValueError, match=r"structures must be|multiple of 32"):
        Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=64), structures, size)
