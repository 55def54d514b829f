"""What is read beside a file of weights."""

import json

import pytest

from bundle.export.model_card import KEYS, read_model_card

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
