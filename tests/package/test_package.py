"""`make package`: one archive with everything that a site needs, and nothing that was not meant to go."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bundle.export import package
from bundle.export.manifest import describe_file, verify_bundle
from bundle.export.package import (
    REQUIREMENTS,
    asked_for,
    bundle_files,
    format_requirements,
    package_bundle,
    read_metadata,
    read_pins,
)
from tests.docs.test_docs import broken_links
from tests.package.conftest import copy_of


@pytest.fixture(scope="module")
def unpacked(packed) -> Path:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(packed.parent / "unpacked")
        return packed.parent / "unpacked" / archive.namelist()[0].split("/")[0]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(clone: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers look at the words
        package_bundle(clone, clone.parent / "dist")
    assert "\n" not in str(caught.value)
    assert not list((clone.parent / "dist").glob("*.zip"))
    return str(caught.value)


# What is in it


def test_the_archive_is_a_bundle_that_verifies(packed, unpacked, repository):
    manifest = verify_bundle(unpacked)
    assert packed.name == f"{manifest.name}-{manifest.version}.zip"
    assert manifest.version == read_metadata(repository)["version"]
    with zipfile.ZipFile(packed) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {manifest.name}


def test_it_has_what_the_model_zoo_asks_for(unpacked):
    for path in ("LICENSE", "docs/README.md", "configs/metadata.json", "configs/inference.json", "models/model.pt"):
        assert (unpacked / path).is_file()
    assert [path for path in package.REQUIRED if not (unpacked / path).is_file()] == []


def test_it_has_all_code_of_the_product_and_no_laboratory_tests_caches_or_results(unpacked, repository):
    packed = {path.relative_to(unpacked / "bundle") for path in (unpacked / "bundle").rglob("*.py")}
    code = {path.relative_to(repository / "bundle") for path in (repository / "bundle").rglob("*.py")}
    assert packed == {path for path in code if path.parts[0] != "laboratory"}
    names = {part for path in unpacked.rglob("*") for part in path.relative_to(unpacked).parts}
    assert not {"laboratory", "tests", "__pycache__", "runs", ".git", ".venv", ".ci"} & names


def test_it_is_small_enough_to_be_looked_through(unpacked):
    assert sum(path.is_file() for path in unpacked.rglob("*")) <= 390


def test_links_in_its_documentation_lead_somewhere_in_it(unpacked):
    pages = sorted(unpacked.rglob("*.md"))
    assert len(pages) > 10
    assert {page.name: links for page in pages if (links := broken_links(page.read_text(), page))} == {}


def test_a_link_to_what_is_not_packed_is_left_as_its_text(clone):
    text = b"a [page](how-to/export.md#x), [evidence](laboratory/README.md), ![a b](none.png), [site](https://e.org/a)"
    inside = package._inside("docs/page.md", text, bundle_files(clone))
    assert inside == b"a [page](how-to/export.md#x), evidence, a b, [site](https://e.org/a)"


def test_the_same_files_give_the_same_bytes_on_another_day(packed, repository, model_file, tmp_path):
    again = package_bundle(copy_of(repository, model_file, tmp_path / "elsewhere"), tmp_path / "dist")
    assert again.read_bytes() == packed.read_bytes()


def test_the_checksum_beside_it_is_as_sha256sum_reads_it(packed):
    from hashlib import sha256

    line = packed.with_name(f"{packed.name}.sha256").read_text()
    assert line == f"{sha256(packed.read_bytes()).hexdigest()}  {packed.name}\n"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_what_pyproject_asks_for_in_the_versions_that_the_project_tests(unpacked, repository, name):
    pins, stated = read_pins(repository / "constraints.txt"), read_pins(unpacked / name)
    assert all(pins[package] == version for package, version in stated.items())
    assert {*names_in(repository, *REQUIREMENTS[name]), "setuptools", "wheel"} <= stated.keys()
    assert not {"monailabel", "itk", "pytest", "ruff", "nncf"} & stated.keys()


def test_inference_needs_nothing_of_training(unpacked):
    assert not {"mlflow", "transformers", "matplotlib", "pandas"} & read_pins(unpacked / "requirements.txt").keys()


def test_a_package_without_a_tested_version_is_refused(tmp_path, repository):
    shutil.copy(repository / "pyproject.toml", tmp_path)
    (tmp_path / "constraints.txt").write_text("torch==2.14.1\n")
    with pytest.raises(ValueError, match=r"no version in constraints.txt for .*monai"):
        format_requirements(tmp_path, "requirements.txt")


def test_pip_takes_the_cpu_builds_of_the_pinned_versions_where_an_index_has_them(unpacked, tmp_path):
    """The page's command for machines without a GPU: one index has these builds, the other has the usual ones."""
    pins = read_pins(unpacked / "requirements.txt")
    for package_name in ("torch", "torchvision"):
        for version in (pins[package_name], f"{pins[package_name]}+cpu", "99.0+cpu"):
            write_empty_wheel(tmp_path, package_name, version)
    where = ["--no-index", "--find-links", str(tmp_path), "--no-deps", "--dest", str(tmp_path / "taken")]
    what = ["--constraint", str(unpacked / "requirements.txt"), "torch", "torchvision"]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *where, *what], check=True, timeout=120)
    taken = {path.name.split("-")[1] for path in (tmp_path / "taken").iterdir()}
    assert taken == {f"{pins['torch']}+cpu", f"{pins['torchvision']}+cpu"}
    assert Requirement(f"torch=={pins['torch']}").specifier.contains(f"{pins['torch']}+cpu")  # it is kept afterwards


def write_empty_wheel(folder: Path, name: str, version: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        information = f"{name}-{version}.dist-info"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")


def names_in(root: Path, *extras: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in asked_for(root, extras)}


@pytest.mark.parametrize("script", [script for script in package.SCRIPTS if script.endswith(".py")])
def test_a_packed_script_answers_help_at_once_without_pytorch(unpacked, script):
    command = [sys.executable, "-X", "importtime", str(unpacked / "scripts" / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""}, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.lower().startswith("usage: ")
    assert not re.findall(r"\| +(torch|monai)$", done.stderr, flags=re.MULTILINE)


def test_scripts_that_need_a_clone_are_not_packed(unpacked):
    assert {path.name for path in (unpacked / "scripts").iterdir()} == set(package.SCRIPTS)


# What is refused


@pytest.mark.parametrize("path", package.REQUIRED)
def test_a_missing_file(clone, path):
    (clone / path).unlink()
    assert f"files that a bundle needs are missing: {path}" in refusal(clone)


def test_versions_that_disagree(clone):
    edit(clone / "configs" / "metadata.json", lambda metadata: metadata.update(version="9.8.7"))
    assert "versions disagree: pyproject.toml has 0." in refusal(clone)
    project = clone / "pyproject.toml"
    project.write_text(project.read_text().replace('\nversion = "', '\nversion = "9.8.7" #', 1))
    assert "CHANGELOG.md has no heading '## [9.8.7]'" in refusal(clone)
    with (clone / "CHANGELOG.md").open("a") as file:
        file.write("\n## [9.8.7] - 2026-01-01\n")
    assert "metadata.json has no changelog entry for its version, 9.8.7" in refusal(clone)


def test_a_version_that_cannot_be_compared(clone):
    edit(clone / "configs" / "metadata.json", lambda metadata: metadata.update(version="1.0-beta"))
    assert "three numbers" in refusal(clone)


def test_weights_that_nobody_has_written_down(clone):
    (clone / "models" / "teachers" / "published").mkdir()
    (clone / "models" / "teachers" / "published" / "big.bin").write_bytes(b"somebody's")
    assert "in no JSON file of models/: models/teachers/published/big.bin; write it there" in refusal(clone)


def test_weights_that_are_not_the_ones_written_down(clone):
    with (clone / "models" / "teachers" / "medclip_small.safetensors").open("ab") as file:
        file.write(b"x")
    assert "models/teachers/medclip_small.safetensors; write it there" in refusal(clone)


def test_metadata_that_state_another_version_of_a_package_than_was_tested(clone):
    def change(metadata: dict) -> None:
        metadata["required_packages_version"]["timm"] = "0.9.0"
        metadata["pytorch_version"] = "1.13.0"

    edit(clone / "configs" / "metadata.json", change)
    assert "other versions than constraints.txt: timm 0.9.0, torch 1.13.0" in refusal(clone)


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_metadata_that_state_another_image_size_than_inference_uses(clone, kind):
    def change(metadata: dict) -> None:
        (tensor,) = metadata["network_data_format"][kind].values()
        tensor["spatial_shape"] = [96, 96]

    edit(clone / "configs" / "metadata.json", change)
    assert "has spatial_shape" in refusal(clone)
    assert "[96, 96]" in refusal(clone)


def test_weights_of_another_network(clone):
    import torch

    torch.save({"student.weight": torch.zeros(3)}, clone / "models" / "model.pt")
    sha256 = describe_file(clone / "models" / "model.pt").sha256
    (clone / "models" / "other.json").write_text(json.dumps({"sha256": sha256}))
    assert "model.pt does not fit Segmenter" in refusal(clone)


def test_a_link(clone, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (clone / "docs" / "extra.md").symlink_to(tmp_path / "secret.md")
    assert "a bundle holds no links: docs/extra.md" in refusal(clone)


def test_a_file_that_could_not_be_unpacked_safely(clone):
    (clone / "docs" / "a page.md").write_text("text")
    assert "unsafe path 'docs/a page.md'" in refusal(clone)


def test_hidden_files_and_caches_are_left_out(clone):
    (clone / "bundle" / "__pycache__").mkdir()
    (clone / "bundle" / "__pycache__" / "a.pyc").touch()
    (clone / "docs" / ".draft.md").touch()
    assert not [path for path in bundle_files(clone) if "pyc" in path or "draft" in path]


# This repository, as it is


def test_its_own_weights_are_written_down(repository):
    package.check_weights_are_listed(bundle_files(repository))


def test_its_metadata_state_every_package_that_it_asks_for(repository):
    package.check_packages(repository)
    asked = names_in(repository, "inference", "deploy", "train")
    stated = read_metadata(repository)["required_packages_version"]
    assert stated.keys() == asked - {"torch", "monai", "numpy"}  # these have keys of their own
