"""A config run as ``python -m monai.bundle`` runs it, in this process: checked first, and quiet."""

import contextlib
import runpy
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bundle.paths import ROOT

PLACES = {
    "distill.json": {"output_dir": "runs/distill", "dataset_dir": "runs/data/phantom"},
    "train.json": {
        "output_dir": "runs/train",
        "dataset_dir": "runs/data/phantom",
        "student_checkpoint": "runs/distill/student.pt",
    },
    "evaluate.json": {
        "output_dir": "runs/evaluate",
        "dataset_dir": "runs/data/phantom",
        "checkpoint": "runs/train/model.pt",
    },
}
"""Where the sub-commands read and write unless told otherwise: below the current folder, not where the bundle lies."""


def run_configs(configs: Sequence[str], run_id: str, values: Mapping[str, str]) -> None:
    """Run configs, after a look at what MONAI would end in a traceback.

    Args:
        configs: Names below ``configs/``, or paths; the base first.
        run_id: What of them runs.
        values: Texts that replace the configs' values, by key.

    Raises:
        FileNotFoundError: If a config is missing.
        ValueError: If a config cannot be read, or a key or value is wrong.
    """
    from bundle.engines.preflight import check_command
    from bundle.engines.stages import Stage

    for config in configs:
        read_config(ROOT / "configs" / config)
    program, _, module, *arguments = Stage("", configs, dict(values), run_id).command()
    check_command([module, *arguments])
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """Hide packages from MONAI, which looks for all that it knows when it is first imported; no help once it is."""
    hidden = [] if "monai" in sys.modules else [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def find_config(name: str) -> Path:
    """A config file by its path, or a shipped overlay by its name.

    Raises:
        FileNotFoundError: If it is neither.
    """
    folder = ROOT / "configs"
    candidates = Path(name), folder / f"{name.removesuffix('.json')}.json"
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        shipped = sorted({path.name for path in folder.glob("*.json")} - {"metadata.json"})
        raise FileNotFoundError(f"no config file {name}: check the path, or name one of {', '.join(shipped)}")
    return found.resolve()


def read_config(path: Path) -> dict[str, Any]:
    """The content of a JSON or YAML config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Saying what is wrong with it, and where.
    """
    from monai.bundle import ConfigParser

    if path.read_bytes().startswith(b"\xef\xbb\xbf"):
        raise ValueError(f"{path} begins with a byte order mark: save it as UTF-8 without one")
    try:
        content = ConfigParser.load_config_file(str(path))
    except Exception as error:  # the errors of JSON, of YAML, of the encoding, of MONAI
        what = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a config: {what}; correct it there") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold one table of keys and values, {{...}}, got a {type(content).__name__}")
    return content


def places_of(base: str, settled: Mapping[str, Any]) -> dict[str, Path]:
    """Where a run reads and writes, as far as nobody settled it; what overlays put below the bundle is moved here.

    Args:
        base: One of :data:`PLACES`.
        settled: Values of the command line and of overlays, by key.
    """
    from monai.bundle import ConfigParser

    places = {}
    for key, place in PLACES[base].items():
        if key not in settled:
            places[key] = Path(place)
        elif "@bundle_root" in str(settled[key]):
            parser = ConfigParser({"bundle_root": str(Path.cwd()), key: settled[key]})
            places[key] = Path(parser.get_parsed_content(key))
    return places


def parse_overrides(words: Sequence[str] | None) -> dict[str, str]:
    """Texts by key, from ``KEY=VALUE``.

    Raises:
        ValueError: If a word has no ``=``, or its key is given twice or is an option of MONAI's own.
    """
    from bundle.engines.command_line import RUN_OPTIONS

    values: dict[str, str] = {}
    for word in words or []:
        key, equals, text = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ValueError(f"expected KEY=VALUE, such as epochs=3, got {word!r}")
        if key in values:
            raise ValueError(f"{key} is given twice")
        if key in RUN_OPTIONS:
            raise ValueError(f"{key} is no key of a config: name overlays with --config")
        values[key] = text
    return values


def absolute(places: Mapping[str, str | Path], device: str | None) -> dict[str, str]:
    """Values for the command line: paths that hold from any folder, addresses, and the device if one is named."""
    from bundle.data.sources import is_address

    values = {key: str(place if is_address(place) else Path(place).absolute()) for key, place in places.items()}
    return values if device is None else {**values, "device": device}


def name_device(device: str | None) -> str:
    """What computes, for the person who waits."""
    import torch

    asked = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if asked.startswith("cuda") and torch.cuda.is_available():
        return f"{asked} ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.get_num_threads()} threads)" if asked == "cpu" else asked


def announce(facts: Mapping[str, str]) -> None:
    """Say what a run works with, before it starts."""
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:<{width}}  {fact}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show this package's own warnings as one line each, and none of other packages', MONAI's notice included."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _show_ours
        yield


def _show_ours(message: Warning | str, *_: Any, **__: Any) -> None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in ("warnings", "_py_warnings"):
        frame = frame.f_back
    if frame is not None and str(frame.f_globals.get("__name__")).startswith("bundle."):
        print(f"note: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201
