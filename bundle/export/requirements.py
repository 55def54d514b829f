"""What inference needs of other packages, with the exact versions that were tested, for a site's pip."""

from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INFERENCE_PACKAGES = (
    "torch",
    "torchvision",
    "monai",
    "timm",
    "sam2",
    "pytorch-ignite",
    "fire",
    "jsonschema",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
    "nibabel",
    "pydicom",
    "python-gdcm",
    "pyjpegls",
    "pylibjpeg-openjpeg",
    "highdicom",
    "av",
    "safetensors",
    "tqdm",
    "psutil",
    "onnx",
    "onnxscript",
    "openvino",
)
"""What ``inference.json`` and ``realtime.json`` import, directly or through MONAI's commands; no training, tracking."""

_BUILD_TOOLS = ("setuptools", "wheel")
_FROM_TORCH = ("nvidia-", "cuda-", "triton")  # torch asks for the CUDA libraries that it was built with

_HEADER = """\
# What inference needs, with the versions that were tested (Linux x86_64, Python 3.11). Made by `make package`.
# sam2 is built from source against torch, so torch comes first:
#   python -m pip install --constraint requirements.txt setuptools wheel torch
#   SAM2_BUILD_CUDA=0 python -m pip install --no-build-isolation --requirement requirements.txt
"""


def format_requirements(constraints: str | Path) -> str:
    """A requirements file: ``INFERENCE_PACKAGES`` and all that they ask for, each with its exact version.

    Args:
        constraints: File with one ``name==version`` per line for every package of the environment.

    Raises:
        ValueError: If a package that is needed has no version there.
    """
    pins = read_pins(constraints)
    needed = {*_needed_by(INFERENCE_PACKAGES), *_BUILD_TOOLS}
    missing = sorted(needed - pins.keys())
    if missing:
        raise ValueError(f"no version in {Path(constraints).name} for {', '.join(missing)}, which inference needs")
    return _HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(needed))


def read_pins(constraints: str | Path) -> Mapping[str, str]:
    """Versions by normalized package name."""
    lines = (line.split("#")[0].strip() for line in Path(constraints).read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def _needed_by(packages: Iterable[str]) -> set[str]:
    """The packages and, as installed here, all that they ask for."""
    to_do = [Requirement(name) for name in packages]
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
