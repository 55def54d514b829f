"""The config that runs, seen from an expression in it: what a run reads, and what makes it the same run as another."""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from monai.bundle import ConfigParser, ReferenceResolver

from bundle.engines.config_keys import SEPARATOR, last_part
from bundle.paths import ROOT

TRAINER = "train::trainer"
"""Entry of a config on which all of a training depends."""
PLACES = ("dir", "root")
FILES = ("checkpoint", "datalist")
"""Last words of the keys of files that are read: what counts is their content, as of ``pretrained`` if it is a file."""
MAY_DIFFER = {
    "device",
    "epochs",
    "seconds",
    "val_interval",
    "checkpoint_every",
    "resume",
    "most_unreadable",
    "num_workers",
    "cache_rate",
    "pin_memory",
    "persistent_workers",
    "prefetch_factor",
    "compile",
    "num_threads",
    "num_streams",
    "log_every",
    "track_pictures",
    "tracking_uri",
    "experiment_name",
    "run_name",
    "parameters",
    "timeout_minutes",
}
"""Settings that change how long, how fast or where a run is, and not what it does; places (:data:`PLACES`) may, too."""


LONGEST_SHOWN = 500
"""Characters of a value that MLflow shows."""


def package_root() -> str:
    """The bundle's root: the folder of configs and weights, wherever the run is started."""
    return str(ROOT)


def running_parser() -> tuple[ConfigParser, str] | None:
    """The parser that evaluates the expression which has called this, and the entry asked for; None outside."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, ConfigParser) and frame.f_code is ConfigParser.get_parsed_content.__code__:
            return caller, frame.f_locals["id"]
        frame = frame.f_back
    return None


def reachable(parser: ConfigParser, root: str) -> set[str]:
    """Ids of all that an entry of a config refers to, through however many others, and its own."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        key = waiting.pop()
        if key not in found and key in parser:
            found.add(key)
            waiting += ReferenceResolver.find_refs_in_config(parser[key], id=key)
    return found


def run_settings(root: str, may_differ: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """Everything in the running config that an entry's result depends on, as plain values by key.

    It is what the config says, before anything is evaluated, of all that the entry refers to. Of files that are read it
    is the content, wherever they lie. :data:`MAY_DIFFER` is left out.

    Args:
        root: The entry, such as :data:`TRAINER`.
        may_differ: Keys to leave out besides.
        more: Values to add.

    Raises:
        ValueError: If it is not called from a config.
    """
    running = running_parser()
    if running is None:
        raise ValueError("run_settings is for an expression of a config: call it there")
    parser, _ = running
    left_out = MAY_DIFFER | set(may_differ)
    settings: dict[str, Any] = {}
    for key in sorted(reachable(parser, root)):
        settings |= dict(_values(parser, key, parser[key], left_out))
    return {**settings, **more}


def built_settings(root: str) -> Callable[[], dict[str, str]]:
    """What an entry of the running config is built from, for a person to read once it is built.

    Returns:
        A function that gives, by key, numbers and texts as they are, of a component its class, of a table its entries,
        and of files a checksum; places are left out. Outside of a config it gives nothing.
    """
    running = running_parser()
    if running is None:
        return dict
    parser, files = running[0], _checksums(run_settings(root))
    keys = [key for key in sorted(reachable(parser, root)) if SEPARATOR not in key and _is_shown(key)]

    def shown() -> dict[str, str]:
        built = parser.ref_resolver.resolved_content
        return {**{key: _describe(built[key]) for key in keys if key in built}, **files}

    return shown


def _is_shown(key: str) -> bool:
    return _last_word(key) not in (*PLACES, *FILES, "pretrained", "uri", "name")


def _checksums(settings: Mapping[str, Any]) -> dict[str, str]:
    names = [key for key in settings if _last_word(key) in (*FILES, "pretrained") and "::handlers::" not in key]
    return {name.replace(SEPARATOR, "/"): str(settings[name]) for name in names}


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_describe(entry)}" for key, entry in value.items())
    if isinstance(value, str | int | float | bool | list | tuple | torch.device) or value is None:
        return str(value)[:LONGEST_SHOWN]
    return type(value).__name__


def settings_id(root: str) -> str:
    """One checksum of :func:`run_settings`."""
    return hashlib.sha256(json.dumps(run_settings(root), sort_keys=True).encode()).hexdigest()


def _values(parser: ConfigParser, key: str, value: Any, left_out: set[str]) -> Iterator[tuple[str, Any]]:
    if any(_is_left_out(part, left_out) for part in key.split(SEPARATOR)):
        return
    is_reference = isinstance(value, str) and value.startswith("@")  # what it refers to counts itself
    if _last_word(key) in (*FILES, "pretrained") and not is_reference:
        yield key, content_of(parser.get_parsed_content(key))
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _values(parser, f"{key}{SEPARATOR}{name}", entry, left_out)
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        for position, entry in enumerate(value):
            yield from _values(parser, f"{key}{SEPARATOR}{position}", entry, left_out)
    else:
        yield key, json.loads(json.dumps(value, default=str))


def _is_left_out(part: str, left_out: set[str]) -> bool:
    return part.startswith("_desc_") or part in left_out or _last_word(part) in PLACES


def _last_word(key: str) -> str:
    return last_part(key).rpartition("_")[2]


def content_of(value: Any) -> Any:
    """What stands for a file's path in a run's settings: a checksum of its content and card, or of a folder's files.

    What is no path of a file is itself.
    """
    if not isinstance(value, str | Path) or not Path(value).exists():
        return json.loads(json.dumps(value, default=str))
    path = Path(value)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    card = path.with_suffix(".json")
    if card != path and card.is_file() and not path.is_dir():
        files.append(card)
    parts = [f"{file.relative_to(path) if path.is_dir() else file.suffix} {_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sha256(file: Path) -> str:
    status = file.stat()
    return _sha256_of(file, status.st_mtime_ns, status.st_size)


@functools.cache
def _sha256_of(file: Path, _changed_ns: int, _size: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def is_first_process() -> bool:
    """Whether this process checks and writes for its run; the others were started beside it by ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"
