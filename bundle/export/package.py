"""The bundle as one versioned zip: configs, code, weights, documentation, requirements, and a list of its files."""

import hashlib
import json
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from packaging.utils import canonicalize_name

from bundle.atomic import atomic_path, write_text
from bundle.export.checkpoint import load_weights
from bundle.export.manifest import (
    MANIFEST,
    BundleError,
    FileEntry,
    Manifest,
    check_paths,
    describe_file,
    version_numbers,
)
from bundle.export.requirements import REQUIREMENTS, format_requirements, read_pins

REQUIRED = (
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
    "constraints.txt",
    "configs/metadata.json",
    "configs/inference.json",
    "configs/train.json",
    "configs/logging.conf",
    "docs/README.md",
    "models/model.pt",
    "models/model.json",
    "scripts/verify_bundle.py",
    "scripts/upgrade_bundle.py",
)
"""Files without which there is no bundle; the model zoo asks for most of them."""

SCRIPTS = (
    *("verify_bundle.py", "upgrade_bundle.py", "deidentify.py", "annotate.py", "download_teachers.py"),
    *("make_datalist.py", "make_public_datalist.py", "make_phantom.py", "setup_environment.sh", "setup_annotation.sh"),
)
"""What a site runs; the other scripts are the publisher's and the laboratory's, who have a clone."""

CONTENT = (
    "LICENSE",
    "*.md",
    "pyproject.toml",
    "*constraints.txt",
    "configs/*.json",
    "configs/logging.conf",
    "bundle/**/*",
    *(f"scripts/{name}" for name in SCRIPTS),
    "models/**/*",
    "docs/**/*.md",
    "docs/**/*.json",
    "docs/**/*.png",
    "docs/**/*.svg",
)
"""What is packed, of a clone."""

_NO_WEIGHTS = (".md", ".json")  # all other files in models/ are taken for weights
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3


def package_bundle(root: str | Path, output_dir: str | Path) -> Path:
    """Write ``<name>-<version>.zip``, and its checksum beside it; the same files give the same bytes.

    Args:
        root: A clone of the repository, with the weights of the model in it.
        output_dir: Folder of the archive.

    Returns:
        The archive.

    Raises:
        BundleError: If a file is missing, versions or sizes disagree, or weights are not listed.
        CheckpointError: If the weights do not fit the network of ``configs/inference.json``.
    """
    root = Path(root).resolve()
    files = bundle_files(root)
    _refuse_missing(files)
    name, version = check_versions(root)
    check_weights_are_listed(root, files)
    check_packages(root)
    check_image_size(root)
    check_weights_fit(root)
    generated = {requirements: format_requirements(root, requirements).encode() for requirements in REQUIREMENTS}
    path = Path(output_dir) / f"{name}-{version}.zip"
    _write_zip(path, name, version, files, generated)
    write_text(path.with_name(f"{path.name}.sha256"), f"{describe_file(path).sha256}  {path.name}\n")
    return path


def bundle_files(root: Path) -> dict[str, Path]:
    """What is packed of a clone, by relative path.

    Raises:
        BundleError: If one of the paths is a link, or could not be unpacked safely.
    """
    root = root.resolve()
    found = sorted({path for pattern in CONTENT for path in root.glob(pattern) if _is_content(path, root)})
    link = next((path for path in found if path.resolve() != path), None)
    if link is not None:
        raise BundleError(f"a bundle holds no links: {link.relative_to(root)}")
    files = {path.relative_to(root).as_posix(): path for path in found}
    check_paths([*files, MANIFEST, *REQUIREMENTS])
    return files


def check_versions(root: Path) -> tuple[str, str]:
    """Name and version of the bundle, if all places that state the version agree.

    Raises:
        BundleError: If they do not, or one of the two change logs has no entry.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = read_metadata(root)
    version = metadata["version"]
    version_numbers(version)
    if project["version"] != version:
        raise BundleError(f"versions disagree: pyproject.toml has {project['version']}, metadata.json {version}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\]", changes, re.MULTILINE):
        raise BundleError(f"CHANGELOG.md has no heading '## [{version}]', the version of metadata.json")
    if not metadata.get("changelog", {}).get(version):
        raise BundleError(f"metadata.json has no changelog entry for its version, {version}")
    return project["name"], version


def check_weights_are_listed(root: Path, files: Mapping[str, Path]) -> None:
    """Refuse weights in ``models/`` whose checksum is in no JSON file there, beside their source and licence.

    Raises:
        BundleError: Naming the files.
    """
    models = {path: file for path, file in files.items() if path.startswith("models/")}
    listed: set[str] = set()
    for file in models.values():
        if file.suffix == ".json":
            listed |= set(_values_of("sha256", json.loads(file.read_text(encoding="utf-8"))))
    weights = [path for path, file in models.items() if file.suffix not in _NO_WEIGHTS]
    unlisted = [path for path in weights if describe_file(root / path).sha256 not in listed]
    if unlisted:
        raise BundleError(
            f"weights whose SHA-256 is in no JSON file of models/: {', '.join(unlisted)}; write it there with source "
            f"and licence, or move the weights elsewhere"
        )


def check_packages(root: Path) -> None:
    """Refuse metadata that state another version of a package than ``constraints.txt``.

    Raises:
        BundleError: Naming the packages.
    """
    pins = read_pins(root / "constraints.txt")
    metadata = read_metadata(root)
    stated = dict(metadata["required_packages_version"])
    for key, name in (("monai_version", "monai"), ("pytorch_version", "torch"), ("numpy_version", "numpy")):
        stated[name] = metadata[key]
    wrong = [f"{name} {version}" for name, version in stated.items() if pins.get(canonicalize_name(name)) != version]
    if wrong:
        raise BundleError(f"metadata.json states other versions than constraints.txt: {', '.join(wrong)}")


def check_image_size(root: Path) -> None:
    """Refuse metadata that state another image size than ``configs/inference.json`` uses.

    Raises:
        BundleError: With both sizes.
    """
    size = _inference_config(root).get_parsed_content("image_size")
    shapes = network_shapes(read_metadata(root))
    if any(shape != [size, size] for shape in shapes.values()):
        raise BundleError(
            f"configs/inference.json uses image_size {size}, but configs/metadata.json has spatial_shape "
            f"{', '.join(f'{shape} for {name}' for name, shape in shapes.items())}: change it there"
        )


def network_shapes(metadata: Mapping[str, Any]) -> dict[str, list[int]]:
    """Height and width of the network's tensors, as the metadata state them."""
    tensors = metadata["network_data_format"]
    return {name: entry["spatial_shape"] for kind in ("inputs", "outputs") for name, entry in tensors[kind].items()}


def check_weights_fit(root: Path) -> None:
    """Load the model's weights, tensors only, into the network of ``configs/inference.json``.

    Raises:
        CheckpointError: If they are not exactly that network's.
    """
    load_weights(_inference_config(root).get_parsed_content("network_def"), root / "models" / "model.pt")


def read_metadata(root: Path) -> dict[str, Any]:
    """``configs/metadata.json``."""
    return json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))


def _inference_config(root: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    return parser


def _is_content(path: Path, root: Path) -> bool:
    """Whether it is a file that is neither hidden nor Python's cache."""
    parts = path.relative_to(root).parts
    return not path.is_dir() and not any(part.startswith(".") or part == "__pycache__" for part in parts)


def _refuse_missing(files: Mapping[str, Path]) -> None:
    missing = [path for path in REQUIRED if path not in files]
    if missing:
        raise BundleError(f"files that a bundle needs are missing: {', '.join(missing)}")


def _values_of(key: str, content: Any) -> Iterator[str]:
    """Every value of a key, at any depth."""
    if isinstance(content, Mapping):
        if isinstance(content.get(key), str):
            yield content[key]
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _values_of(key, value)


def _entry(content: bytes) -> FileEntry:
    return FileEntry(len(content), hashlib.sha256(content).hexdigest())


def _write_zip(path: Path, name: str, version: str, files: Mapping[str, Path], generated: Mapping[str, bytes]) -> None:
    """Not compressed: weights do not shrink, and the bytes then depend on no version of a compressor."""
    contents = {relative: file.read_bytes() for relative, file in files.items()} | dict(generated)
    entries = {relative: _entry(content) for relative, content in contents.items()}
    contents[MANIFEST] = Manifest(name, version, entries).to_json().encode()
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for relative in sorted(contents):
            member = zipfile.ZipInfo(f"{name}/{relative}", _EPOCH)
            member.create_system, member.external_attr = _UNIX, _REGULAR_0644
            archive.writestr(member, contents[relative])
