"""The bundle as one versioned zip: configs, code, weights, documentation, requirements, and a list of its files."""

import hashlib
import json
import os
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bundle.atomic import atomic_path, write_text
from bundle.export.checkpoint import load_weights
from bundle.export.manifest import MANIFEST, BundleError, FileEntry, Manifest, check_paths, check_version, describe_file

# Files without which there is no bundle; the model zoo asks for most of them.
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
)

# What a site runs; the other scripts are the publisher's, who has a clone.
SCRIPTS = (
    *("verify_bundle.py", "deidentify.py", "annotate.py", "download_teachers.py", "make_datalist.py"),
    *("make_phantom.py", "setup_environment.sh", "setup_annotation.sh"),
)

# What is packed of a clone, apart from what lies in a folder ``laboratory``.
CONTENT = (
    "LICENSE",
    "*.md",
    "pyproject.toml",
    "setup.py",
    "*constraints.txt",
    "configs/**/*.json",
    "configs/logging.conf",
    "bundle/**/*",
    *(f"scripts/{name}" for name in SCRIPTS),
    "models/**/*",
    "docs/**/*.md",
    "docs/**/*.png",
    "docs/**/*.gif",
    "docs/**/*.svg",
)

# Files that are made for the packed bundle, and the extras of pyproject.toml that each installs.
REQUIREMENTS = {
    "requirements.txt": ("inference", "deploy"),
    "requirements-train.txt": ("inference", "deploy", "train"),
}

_HEADER = """\
# Made by `make package` from pyproject.toml's extras {extras}.
# The versions that were tested, on Linux x86_64 with Python 3.11. sam2 is built against torch, so torch comes first:
#   python -m pip install --constraint {name} setuptools wheel torch
#   SAM2_BUILD_CUDA=0 python -m pip install --no-build-isolation --requirement {name}
"""
_BUILD_TOOLS = ("setuptools", "wheel")
_FROM_TORCH = ("nvidia-", "cuda-", "triton")  # torch asks for the CUDA libraries that it was built with
_NO_WEIGHTS = (".md", ".json")  # all other files in models/ are taken for weights
_LINK = re.compile(r"!?\[([^\[\]]*)\]\(([^()\s#:]+)(#[^()\s]*)?\)")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3


def package_bundle(root: str | Path, output_dir: str | Path) -> Path:
    """Write ``<name>-<version>.zip``, and its checksum beside it; the same files give the same bytes.

    Args:
        root: A clone of the repository, with the weights of the model in it.
        output_dir: Folder of the archive.

    Raises:
        BundleError: If a file is missing, versions or sizes disagree, or weights are not listed.
        WeightsError: If the weights do not fit the network of ``configs/inference.json``.
    """
    root = Path(root).resolve()
    files = bundle_files(root)
    missing = [path for path in REQUIRED if path not in files]
    if missing:
        raise BundleError(f"files that a bundle needs are missing: {', '.join(missing)}")
    name, version = check_versions(root)
    check_weights_are_listed(files)
    check_packages(root)
    check_network(root)
    contents = {path: file.read_bytes() for path, file in files.items()}
    contents |= {path: _inside(path, text, files) for path, text in contents.items() if path.endswith(".md")}
    contents |= {requirements: format_requirements(root, requirements).encode() for requirements in REQUIREMENTS}
    archive = Path(output_dir) / f"{name}-{version}.zip"
    _write_zip(archive, name, version, contents)
    write_text(archive.with_name(f"{archive.name}.sha256"), f"{describe_file(archive).sha256}  {archive.name}\n")
    return archive


def bundle_files(root: Path) -> dict[str, Path]:
    """What is packed of a clone, by relative path."""
    root = root.resolve()
    found = sorted({path for pattern in CONTENT for path in root.glob(pattern) if _is_content(path, root)})
    link = next((path for path in found if path.resolve() != path), None)
    if link is not None:
        raise BundleError(f"a bundle holds no links: {link.relative_to(root)}")
    files = {path.relative_to(root).as_posix(): path for path in found}
    check_paths([*files, MANIFEST, *REQUIREMENTS])
    return files


def check_versions(root: Path) -> tuple[str, str]:
    """Name and version of the bundle, if all places that state the version agree."""
    project = _project(root)
    stated = read_metadata(root)
    version = stated["version"]
    check_version(version)
    if project["version"] != version:
        raise BundleError(f"versions disagree: pyproject.toml has {project['version']}, metadata.json {version}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\]", changes, re.MULTILINE):
        raise BundleError(f"CHANGELOG.md has no heading '## [{version}]', the version of metadata.json")
    if not stated.get("changelog", {}).get(version):
        raise BundleError(f"metadata.json has no changelog entry for its version, {version}")
    return project["name"], version


def check_weights_are_listed(files: Mapping[str, Path]) -> None:
    """Refuse weights in ``models/`` whose checksum is in no JSON file there, beside their source and license."""
    models = {path: file for path, file in files.items() if path.startswith("models/")}
    cards = [file.read_text(encoding="utf-8") for file in models.values() if file.suffix == ".json"]
    listed = {value for card in cards for value in _values_of("sha256", json.loads(card))}
    weights = [path for path, file in models.items() if file.suffix not in _NO_WEIGHTS]
    unlisted = [path for path in weights if describe_file(models[path]).sha256 not in listed]
    if unlisted:
        raise BundleError(
            f"weights whose SHA-256 is in no JSON file of models/: {', '.join(unlisted)}; write it there with source "
            f"and license, or move the weights elsewhere"
        )


def check_packages(root: Path) -> None:
    """Refuse metadata that state another version of a package than ``constraints.txt``."""
    pins = read_pins(root / "constraints.txt")
    content = read_metadata(root)
    stated = dict(content["required_packages_version"])
    for key, name in (("monai_version", "monai"), ("pytorch_version", "torch"), ("numpy_version", "numpy")):
        stated[name] = content[key]
    wrong = [f"{name} {version}" for name, version in stated.items() if pins.get(canonicalize_name(name)) != version]
    if wrong:
        raise BundleError(f"metadata.json states other versions than constraints.txt: {', '.join(wrong)}")


def check_network(root: Path) -> None:
    """Refuse metadata or weights that do not fit the network of ``configs/inference.json``."""
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    size = parser.get_parsed_content("image_size")
    tensors = read_metadata(root)["network_data_format"]
    shapes = {name: entry["spatial_shape"] for kind in ("inputs", "outputs") for name, entry in tensors[kind].items()}
    if any(shape != [size, size] for shape in shapes.values()):
        raise BundleError(
            f"configs/inference.json uses image_size {size}, but configs/metadata.json has spatial_shape "
            f"{', '.join(f'{shape} for {name}' for name, shape in shapes.items())}: change it there"
        )
    load_weights(parser.get_parsed_content("network_def"), root / "models" / "model.pt")


def read_metadata(root: Path) -> dict[str, Any]:
    """``configs/metadata.json``."""
    return json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))


def format_requirements(root: str | Path, name: str) -> str:
    """One of ``REQUIREMENTS``: every package that its extras need, directly or not, with its exact version."""
    extras = REQUIREMENTS[name]
    pins = read_pins(Path(root) / "constraints.txt")
    needed = {*_needed_by(asked_for(root, extras)), *_BUILD_TOOLS}
    missing = sorted(needed - pins.keys())
    if missing:
        raise ValueError(f"no version in constraints.txt for {', '.join(missing)}, which {' or '.join(extras)} needs")
    header = _HEADER.format(name=name, extras=", ".join(extras))
    return header + "".join(f"{package}=={pins[package]}\n" for package in sorted(needed))


def asked_for(root: str | Path, extras: Iterable[str]) -> list[Requirement]:
    """What ``pyproject.toml`` itself asks for: of every use, and of some extras."""
    project = _project(Path(root))
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


def read_pins(constraints: str | Path) -> Mapping[str, str]:
    """Versions by normalized package name."""
    lines = (line.split("#")[0].strip() for line in Path(constraints).read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def _needed_by(requirements: Iterable[Requirement]) -> set[str]:
    """The packages and, as installed here, all that they ask for."""
    to_do = [*requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while to_do:
        requirement = to_do.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(_FROM_TORCH) or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        further = [Requirement(text) for text in metadata.requires(name) or []]
        environments = [{"extra": extra} for extra in ("", *requirement.extras)]
        to_do += [r for r in further if r.marker is None or any(r.marker.evaluate(e) for e in environments)]
    return {name for name, _ in seen}


def _project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _is_content(path: Path, root: Path) -> bool:
    """Whether it is a file that is neither hidden, nor Python's cache, nor the laboratory's."""
    parts = path.relative_to(root).parts
    is_left_out = any(part.startswith(".") or part in ("__pycache__", "laboratory") for part in parts)
    return not path.is_dir() and not is_left_out


def _inside(page: str, text: bytes, files: Mapping[str, Path]) -> bytes:
    """A page whose links to what is not packed are plain text."""

    def keep_or_unlink(link: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(page), link[2]))
        is_packed = target in files or any(path.startswith(f"{target}/") for path in files)
        return link[0] if is_packed else link[1]

    return _LINK.sub(keep_or_unlink, text.decode()).encode()


def _values_of(key: str, content: Any) -> Iterator[str]:
    """Every value of a key, at any depth."""
    if isinstance(content, Mapping):
        if isinstance(content.get(key), str):
            yield content[key]
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _values_of(key, value)


def _write_zip(path: Path, name: str, version: str, contents: Mapping[str, bytes]) -> None:
    """Not compressed: weights do not shrink, and the bytes then depend on no version of a compressor."""
    entries = {file: FileEntry(len(data), hashlib.sha256(data).hexdigest()) for file, data in contents.items()}
    with_manifest = {**contents, MANIFEST: Manifest(name, version, entries).to_json().encode()}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for relative in sorted(with_manifest):
            member = zipfile.ZipInfo(f"{name}/{relative}", _EPOCH)
            member.create_system, member.external_attr = _UNIX, _REGULAR_0644
            archive.writestr(member, with_manifest[relative])
