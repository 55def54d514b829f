"""A decoder that is asked by name: the automatic mask without prompts, and a copy that leaves the segmenter alone."""

import pytest
import torch

from bundle.segmentation.structure_decoder import StructureDecoder


def arguments(segmenter, count: int) -> dict:
    features = segmenter.encode(torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(1)))
    return {
        "image_embeddings": features.embedding,
        "image_pe": segmenter.prompt_encoder.get_dense_pe(),
        "sparse_prompt_embeddings": torch.zeros(count, 0, 256),
        "dense_prompt_embeddings": segmenter.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand(
            count, -1, 4, 4
        ),
        "multimask_output": False,
        "repeat_image": False,
        "high_res_features": list(features.high_res_features),
    }


@torch.no_grad()
def test_without_prompts_every_object_gets_its_structures_automatic_mask(segmenter):
    frames = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    automatic = segmenter.decode_structures(segmenter.encode(frames))
    decoder = StructureDecoder(segmenter, segmenter.prompt_encoder.not_a_point_embed)
    decoder.ask_for(torch.tensor([2, 0]))
    masks, iou, token, presence = decoder(**arguments(segmenter, 2))
    for index, structure in enumerate([2, 0]):
        torch.testing.assert_close(masks[index, 0], automatic.masks[index, structure], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou[index, 0], automatic.iou[index, structure])
        torch.testing.assert_close(presence[index, 0], automatic.presence[index, structure])
    assert token.shape == (2, 1, 256)


@torch.no_grad()
def test_padding_is_no_prompt(segmenter):
    decoder = StructureDecoder(segmenter, segmenter.prompt_encoder.not_a_point_embed)
    given = arguments(segmenter, 1)
    padding = segmenter.prompt_encoder.not_a_point_embed.weight.view(1, 1, -1).expand(1, 2, -1)
    assert torch.equal(decoder(**given)[0], decoder(**given | {"sparse_prompt_embeddings": padding})[0])


@torch.no_grad()
def test_a_prompt_changes_the_mask(segmenter):
    decoder = StructureDecoder(segmenter, segmenter.prompt_encoder.not_a_point_embed)
    given = arguments(segmenter, 1)
    clicked = given | {"sparse_prompt_embeddings": torch.ones(1, 2, 256)}
    assert not torch.allclose(decoder(**given)[0], decoder(**clicked)[0])


def test_what_it_learns_is_its_own(segmenter):
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    decoder = StructureDecoder(segmenter, segmenter.prompt_encoder.not_a_point_embed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


def test_other_numbers_of_names_and_several_masks_are_refused(segmenter):
    decoder = StructureDecoder(segmenter, segmenter.prompt_encoder.not_a_point_embed)
    with pytest.raises(ValueError, match="1 named structures have one mask each, got 2 embeddings"):
        decoder(**arguments(segmenter, 2))
    with pytest.raises(ValueError, match="one mask each"):
        decoder(**arguments(segmenter, 1) | {"multimask_output": True})
