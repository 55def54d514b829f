"""What a site's pip installs: extras of pyproject.toml and all that they ask for, in the versions that were tested."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = {
    "requirements.txt": ("inference", "deploy"),
    "requirements-train.txt": ("inference", "deploy", "train"),
}
"""Files that are made for the packed bundle, and the extras that each installs."""

_BUILD_TOOLS = ("setuptools", "wheel")
_FROM_TORCH = ("nvidia-", "cuda-", "triton")  # torch asks for the CUDA libraries that it was built with

_HEADER = """\
# Made by `make package` from pyproject.toml's extras {extras}.
# The versions that were tested, on Linux x86_64 with Python 3.11. sam2 is built against torch, so torch comes first:
#   python -m pip install --constraint {name} setuptools wheel torch
#   SAM2_BUILD_CUDA=0 python -m pip install --no-build-isolation --requirement {name}
"""


def format_requirements(root: str | Path, name: str) -> str:
    """One of ``REQUIREMENTS``: every package that its extras need, directly or not, with its exact version.

    Args:
        root: Folder of ``pyproject.toml`` and ``constraints.txt``.
        name: Of the file.

    Raises:
        ValueError: If a package that is needed has no version in the constraints.
    """
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
    project = tomllib.loads((Path(root) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
        asked_for = [Requirement(text) for text in metadata.requires(name) or []]
        environments = [{"extra": extra} for extra in ("", *requirement.extras)]
        to_do += [r for r in asked_for if r.marker is None or any(r.marker.evaluate(e) for e in environments)]
    return {name for name, _ in seen}
