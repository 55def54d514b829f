"""What is read beside a file of weights."""

import json

import pytest
import torch

from bundle.export.checkpoint import load_weights
from bundle.export.model_card import KEYS, read_model_card
from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student

CARD = {"student_backbone": "efficientvit_b0", "embed_dim": 256, "image_size": 64, "structures": ["bolus"], "extra": 1}


def test_the_card_lies_beside_the_weights(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(CARD))
    assert read_model_card(tmp_path / "model.pt") == CARD


def test_no_card_names_the_keys_to_give_instead(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model\.json beside .*--student_backbone.*--image_size"):
        read_model_card(tmp_path / "model.pt")


@pytest.mark.parametrize("key", KEYS)
def test_a_card_without_a_key_is_refused(tmp_path, key):
    (tmp_path / "model.json").write_text(json.dumps({name: value for name, value in CARD.items() if name != key}))
    with pytest.raises(ValueError, match=f"lacks {key}"):
        read_model_card(tmp_path / "model.pt")


@pytest.mark.parametrize("text", ["{", "[1]", '"model"'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"model\.json must"):
        read_model_card(tmp_path / "model.pt")


def test_the_shipped_weights_have_a_card(bundle_root):
    assert read_model_card(bundle_root / "models" / "model.pt")["image_size"] % 32 == 0


def segmenter(image_size: int = 64, structures: tuple[str, ...] = ("bolus",)) -> Segmenter:
    return Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), 256), structures, image_size)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    torch.save(segmenter().state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(CARD))
    return path


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ((128,), r"image_size is 128, but .*model\.pt was trained with image_size 64 .*leave --image_size out"),
        ((64, ("hyoid",)), r"structures is \['hyoid'\], but .* structures \['bolus'\]"),
    ],
    ids=["another size", "another structure"],
)
def test_weights_are_used_as_they_were_trained_or_refused_with_both_values(weights, used, words):
    with pytest.raises(ValueError, match=words):
        load_weights(segmenter(*used), weights)


def test_a_training_may_go_on_at_another_size_and_says_so(weights, capsys):
    load_weights(segmenter(128), weights, may_differ=["image_size"])
    assert "goes on with image_size 128" in "".join(capsys.readouterr())
    load_weights(segmenter(), weights, may_differ=["image_size"])
    assert not "".join(capsys.readouterr())


def test_a_student_of_another_backbone_is_refused_with_both_names(tmp_path):
    torch.save({}, tmp_path / "student.pt")
    card = {"student_backbone": "repvit_m0_9", "embed_dim": 256}
    (tmp_path / "student.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"student_backbone is efficientvit_b0, .* student_backbone repvit_m0_9"):
        load_student(segmenter().student, tmp_path / "student.pt")
