"""What is checked before a workflow starts, and how its errors reach the person at the command line.

MONAI's parser ignores a misspelt key of an overlay or of the command line in silence. Here it is an error, as is a data
list or a checkpoint that is not there; and an error of the user's is one line, not a page of traceback.
"""

import difflib
import inspect
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from monai.bundle import ConfigParser
from monai.utils import optional_import

from bundle.engines.checkpoint_folder import CheckpointError

SEPARATOR = "::"
REFERENCE = re.compile(r"[@%]([\w:#]+)")
RUN_OPTIONS = {
    "run_id",
    "init_id",
    "final_id",
    "meta_file",
    "config_file",
    "logging_file",
    "tracking",
    "args_file",
    "bundle_root",
}
"""Arguments of ``monai.bundle run`` itself; every other one overrides a config key."""
RUN_IDS = ("training", "evaluating", "run", "initialize", "finalize")
USERS_ERRORS = (ValueError, FileNotFoundError, FileExistsError, CheckpointError)
ALWAYS_KNOWN = {"imports", "_meta_"}

logger = logging.getLogger(__name__)


def preflight(output_dir: str | Path, files: Iterable[str | Path] = ()) -> None:
    """First step of every workflow, before anything is built.

    Checks the command line's configs and overrides for unknown keys, checks that ``files`` are there, and records the
    merged config as ``config.json`` in ``output_dir``. Run from Python, without a command line, only files are checked.

    Args:
        output_dir: Folder of this run; made if it is not there.
        files: Files that the run will need later, such as checkpoints and the data list.

    Raises:
        ValueError: If a key is unknown.
        FileNotFoundError: If a file is missing.
    """
    command_line = parse_command_line(sys.argv)
    if command_line:
        sys.excepthook = report_in_one_line
        merged = check_keys(command_line.configs, command_line.overrides, command_line.run_ids)
    check_files(files)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    if command_line:
        (Path(output_dir) / "config.json").write_text(json.dumps(merged, indent=2))


def check_files(files: Iterable[str | Path]) -> None:
    """Refuse a run whose files are not there.

    Raises:
        FileNotFoundError: Naming every missing file.
    """
    missing = [str(file) for file in files if not Path(file).exists()]
    if missing:
        raise FileNotFoundError(
            f"not found: {', '.join(missing)}; run the stage that makes it first, or give its path on the command line"
        )


class CommandLine(NamedTuple):
    """What ``python -m monai.bundle run …`` was asked to do."""

    run_ids: set[str]
    configs: list[Path]
    overrides: dict[str, str]


def parse_command_line(argv: Sequence[str]) -> CommandLine | None:
    """The bundle command of this process; None if it runs something else."""
    if len(argv) < 2 or "monai" not in argv[0] or argv[1] != "run":
        return None
    options: dict[str, str] = {}
    run_ids = set(RUN_IDS)
    arguments = list(argv[2:])
    while arguments:
        argument = arguments.pop(0)
        if not argument.startswith("--"):
            run_ids.add(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals:
            value = arguments.pop(0) if arguments and not arguments[0].startswith("--") else "True"
        options[name] = value
    if "config_file" not in options:
        return None
    configs = [Path(file) for file in re.findall(r"[^\[\]'\",\s]+", options["config_file"])]
    run_ids |= {value for name, value in options.items() if name == "run_id"}
    return CommandLine(run_ids, configs, {name: value for name, value in options.items() if name not in RUN_OPTIONS})


def check_keys(
    configs: Sequence[Path], overrides: Mapping[str, Any] | None = None, run_ids: Iterable[str] = RUN_IDS
) -> dict[str, Any]:
    """Merge configs and overrides as MONAI does, and refuse keys that would have no effect.

    A key of an overlay counts if a config below defines it, if anything refers to it or to the table that it is an
    entry of, or if it is an argument of the component that it is put into.

    Args:
        configs: Config files, the base first.
        overrides: Values from the command line, by key.
        run_ids: Keys that a person runs, to which nothing need refer.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: If a config file is missing.
        ValueError: Naming the unknown key, where it came from, and the nearest known one.
    """
    check_files(configs)
    known_ids = ALWAYS_KNOWN | set(run_ids)
    merged: dict[str, Any] = {}
    for position, file in enumerate(configs):
        layer = {key.replace("#", SEPARATOR): value for key, value in ConfigParser.load_config_file(str(file)).items()}
        if position:
            _check_layer(layer, merged, known_ids, str(file))
        merged = ConfigParser.load_config_files([str(config) for config in configs[: position + 1]])
    changed = {key.replace("#", SEPARATOR): value for key, value in (overrides or {}).items()}
    _check_layer(changed, merged, known_ids, "the command line")
    return {**merged, **changed}


def _check_layer(layer: Mapping[str, Any], below: Mapping[str, Any], known_ids: set[str], source: str) -> None:
    text = json.dumps({**below, **layer}, default=str).replace("#", SEPARATOR)
    references = set(REFERENCE.findall(text))
    known = dict(_flatten(below))
    for key, _ in _flatten(layer):
        name = key.lstrip("+")
        last = name.rsplit(SEPARATOR, 1)[-1]
        is_note = last.startswith("_") and last.endswith("_")
        if is_note or name in known or name.split(SEPARATOR, 1)[0] in known_ids or name in references:
            continue
        if _is_entry_of_table(name, known, references):
            continue
        if not _is_argument(name, known, layer):
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else "; it is not in the configs below and nothing refers to it"
            )
            raise ValueError(f"unknown config key {name!r} in {source}{hint}")


def _is_entry_of_table(key: str, known: Mapping[str, Any], references: set[str]) -> bool:
    """Whether the key is an entry of a plain table below that something refers to as a whole."""
    table = key.rpartition(SEPARATOR)[0]
    value = known.get(table)
    return table in references and isinstance(value, Mapping) and "_target_" not in value


def _is_argument(key: str, known: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    """Whether a key below a component is new there, and one of its arguments (or a part of a replaced component)."""
    parts = key.split(SEPARATOR)
    for depth in range(len(parts) - 1, 0, -1):
        parent = SEPARATOR.join(parts[:depth])
        own = _lookup(layer, parts[:depth])
        if isinstance(own, Mapping) and "_target_" in own:
            return True  # the overlay brings this component whole; building it checks its arguments
        target = known.get(f"{parent}{SEPARATOR}_target_")
        if isinstance(target, str):
            return _accepts(target, parts[depth])
        value = known.get(parent)
        if parent in known and not isinstance(value, Mapping):
            return True  # a plain value, or an empty table, replaced by a table
    return False


def _accepts(target: str, argument: str) -> bool:
    module, _, name = target.rpartition(".")
    component, found = optional_import(module, name=name)
    if not found:
        return True  # a short MONAI name: MONAI itself reports a wrong argument when it builds the component
    parameters = inspect.signature(component).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _lookup(config: Mapping[str, Any], parts: Sequence[str]) -> Any:
    value: Any = config
    for part in parts:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}{SEPARATOR}")


def report_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An ``excepthook``: a user's error as one line, anything else as Python does it.

    Libraries wrap errors, and ours are raised from those of libraries: the outermost of the user's errors is shown.
    """
    cause: BaseException | None = error
    while cause is not None and (not isinstance(cause, USERS_ERRORS) or isinstance(cause, UnicodeError)):
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    if cause is not None:
        print(f"error: {' '.join(str(cause).split())}", file=sys.stderr)  # noqa: T201 - this is the command line
        logger.debug("".join(traceback.format_exception(kind, error, trace)))
    else:
        sys.__excepthook__(kind, error, trace)
