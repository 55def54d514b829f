"""The memory: starts by saying nothing, is trained alone, saved alone, loaded strictly, and used as it was trained."""

import pytest
import torch

from bundle.segmentation.memory import Memory, load_memory, start_memory
from bundle.segmentation.memory_training import ClipPrompts, TrainingMemory, correcting_clicks
from bundle.segmentation.prompting import Prompt
from bundle.segmentation.propagation import track_clip
from bundle.segmentation.sam2 import LIGHT_MEMORY, MemorySize, build_tracker

CLIPS = torch.rand(2, 4, 1, 64, 64, generator=torch.Generator().manual_seed(1))
LABEL = torch.zeros(3, 4, 64, 64)
LABEL[:, :, 10:30, 20:40] = 1
POINTS = torch.full((3, 1, 2), 25.0)


def prompts(points: torch.Tensor | None = None, corrected: int | None = None) -> ClipPrompts:
    labels = None if points is None else torch.ones(points.shape[:2], dtype=torch.int32)
    clip, structure = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1])
    return ClipPrompts(clip, structure, LABEL, points, labels, corrected, torch.full((3,), 0.5))


@pytest.fixture
def network(segmenter) -> TrainingMemory:
    torch.manual_seed(2)
    return TrainingMemory(segmenter, build_tracker(segmenter), CLIPS[0])


@torch.no_grad()
def test_a_new_memory_passes_the_embedding_on_whatever_it_remembers(segmenter):
    tracker = build_tracker(segmenter)
    embedding = segmenter.encode(CLIPS[0]).embedding
    start_memory(tracker, embedding)
    tokens = embedding.flatten(2).permute(2, 0, 1)  # (h * w, B, C)
    nowhere = torch.zeros_like(tokens)
    outputs = [
        tracker.memory_attention([tokens], memory, [nowhere], torch.zeros(16, 4, 64))
        for memory in (torch.zeros(16, 4, 64), torch.rand(16, 4, 64))
    ]
    assert torch.equal(*outputs)
    torch.testing.assert_close(outputs[0].mean((0, 1)), tokens.mean((0, 1)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(outputs[0].std((0, 1)), tokens.std((0, 1)), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_a_new_memory_looks_at_the_same_place(segmenter):
    tracker = build_tracker(segmenter)
    start_memory(tracker, segmenter.encode(CLIPS[0]).embedding)
    attention = tracker.memory_attention.layers[0].cross_attn_image
    torch.nn.init.eye_(attention.out_proj.weight)
    memory = torch.randn(1, 2 * 16, 64, generator=torch.Generator().manual_seed(3))  # two frames of 4 x 4
    seen = attention(torch.rand(1, 16, 256), torch.rand(1, 2 * 16, 64), memory)
    values = attention.v_proj(memory)
    own_place = (values[:, :16] + values[:, 16:]) / 2
    assert (seen - own_place).square().mean() < 0.05 * own_place.var()


@pytest.mark.parametrize(
    ("points", "corrected", "num_masks"), [(None, None, 3), (None, 2, 4), (POINTS, None, 4), (POINTS, 1, 5)]
)
@torch.no_grad()
def test_there_is_a_mask_for_every_answer_of_the_network(network, points, corrected, num_masks):
    output = network(CLIPS, prompts(points, corrected))
    assert output["masks"].shape == (3, num_masks, 16, 16)
    assert output["presence"].shape == (3, num_masks)


def test_the_memory_learns_and_the_segmenter_does_not(segmenter, network):
    network.train()
    assert not segmenter.training
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    optimizer = torch.optim.SGD(network.memory.parameters(), lr=0.1)
    for _ in range(2):  # what comes before layers that start at 0 has a gradient from the second step on
        output = network(CLIPS, prompts(POINTS, corrected=1))
        optimizer.zero_grad()
        (output["masks"].square().mean() + output["presence"].mean()).backward()
        optimizer.step()
    learning = {name.split(".")[0] for name, value in network.model.named_parameters() if value.grad is not None}
    parts = {"memory_attention", "memory_encoder", "obj_ptr_proj", "obj_ptr_tpos_proj", "maskmem_tpos_enc"}
    assert learning >= parts | {"sam_mask_decoder", "sam_prompt_encoder"}
    assert "image_encoder" not in learning
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


def test_tracking_in_use_is_tracking_in_training(segmenter, network, tmp_path):
    for parameter in network.memory.parameters():  # away from the start, where memory says nothing
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    network.eval()
    with torch.no_grad():
        logits = network(CLIPS, prompts())["masks"]
    expected = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear") > 0
    given = [Prompt("bolus", 0, mask=LABEL[0, 0]), Prompt("c2", 0, mask=LABEL[1, 0])]
    names, masks = track_clip(segmenter, network.model, CLIPS[0], given)
    assert names == ["bolus", "c2"]
    assert (masks[1:].transpose(0, 1) == expected[:2]).float().mean() > 0.995  # SAM 2 keeps maps in bfloat16


def test_a_saved_memory_has_no_student_and_is_read_strictly(segmenter, tmp_path):
    path = tmp_path / "memory.pt"
    state = Memory(build_tracker(segmenter)).state_dict()
    assert not any("trunk" in name for name in state)
    torch.save(state, path)
    tracker = build_tracker(segmenter)
    load_memory(tracker, path)
    assert all(torch.equal(value, state[name]) for name, value in Memory(tracker).state_dict().items())
    torch.save(dict(list(state.items())[1:]), path)
    with pytest.raises(ValueError, match="1 missing"):
        load_memory(tracker, path)
    torch.save(state | {"surplus": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 unexpected \(surplus\)"):
        load_memory(tracker, path)
    with pytest.raises(ValueError, match="missing"):
        load_memory(build_tracker(segmenter, MemorySize(num_layers=LIGHT_MEMORY.num_layers + 1)), path)


def test_a_memory_goes_back_to_a_checkpoint(segmenter):
    first, second = Memory(build_tracker(segmenter)), Memory(build_tracker(segmenter))
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_click_corrects_what_is_wrong():
    label = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    label[:2, 0, 1, 1:3] = True  # two pixels; the third object is not in the frame
    pred = label.clone()
    pred[0, 0, 1, 2] = False  # missed
    pred[2, 0, 3, 0] = True  # made up
    points, labels = correcting_clicks(pred, label, torch.tensor([0.9, 0.6, 0.9]))
    assert points[:, 0].tolist() == [[2, 1], [2, 1], [0, 3]], "the second, all right, gets a click inside"
    assert labels[:, 0].tolist() == [1, 1, 0]
