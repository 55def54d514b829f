"""The overlay on the page about one's own teacher does what the page says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
from monai.bundle import ConfigParser
from safetensors.torch import save_file

from bundle.engines.preflight import check_keys


@pytest.fixture
def overlay(bundle_root: Path) -> dict[str, Any]:
    """The JSON that the page shows of a timm model."""
    page = (bundle_root / "docs" / "how-to" / "custom-teacher.md").read_text(encoding="utf-8")
    block, *_ = re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return json.loads(block)


def one_more(overlay: dict[str, Any]) -> dict[str, Any]:
    return overlay


def added(overlay: dict[str, Any]) -> dict[str, Any]:
    return {"+teachers": {"mine": overlay["teachers::mine"]}}


def instead(overlay: dict[str, Any]) -> dict[str, Any]:
    return {"teachers": {"mine": overlay["teachers::mine"]}}


@pytest.mark.parametrize(("form", "num_teachers"), [(one_more, 4), (added, 4), (instead, 1)])
def test_the_page_s_overlay_is_accepted_and_makes_the_teacher(bundle_root, tmp_path, overlay, form, num_teachers):
    folder = tmp_path / "models" / "teachers"
    folder.mkdir(parents=True)
    save_file(timm.create_model("resnet10t").state_dict(), folder / "mine.safetensors")
    (tmp_path / "my_teacher.json").write_text(json.dumps(form(overlay)))
    configs = [bundle_root / "configs" / "distill.json", tmp_path / "my_teacher.json"]
    check_keys(configs)
    parser = ConfigParser(ConfigParser.load_config_files(configs))
    assert len(parser["teachers"]) == num_teachers
    parser["bundle_root"] = str(tmp_path)
    assert parser.get_parsed_content("teachers::mine").embed_dim == 512


def test_a_misspelt_argument_of_the_page_s_overlay_is_refused(bundle_root, tmp_path, overlay):
    (tmp_path / "my_teacher.json").write_text(json.dumps({"teacher::mine": overlay["teachers::mine"]}))
    with pytest.raises(ValueError, match="unknown config key 'teacher::mine"):
        check_keys([bundle_root / "configs" / "distill.json", tmp_path / "my_teacher.json"])
