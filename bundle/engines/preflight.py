"""What is checked before a workflow starts.

MONAI's parser ignores a misspelt key of an overlay or of the command line in silence, and the command line turns texts
into numbers and lists. Here the one is an error and the other is undone; files that are not there, devices that are
none and folders that are in use are errors, too, and each is one line (:mod:`bundle.one_line`).
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

import monai
import torch
from monai.bundle import ConfigParser

from bundle.atomic import write_text
from bundle.data.pacs_address import PacsAddress
from bundle.data.sources import is_address
from bundle.engines.checkpoint_folder import CheckpointFolder
from bundle.engines.checkpoints import check_settings
from bundle.engines.command_line import CommandLine, is_bundle_command, parse_command_line
from bundle.engines.config_keys import (
    SEPARATOR,
    check_files,
    check_keys,
    check_overrides,
    flatten,
    is_expression,
    is_text_key,
)
from bundle.engines.distributed import first_process_first, has_several_processes, start_processes
from bundle.engines.folder_lock import hold_folder
from bundle.engines.running_config import (
    FILES,
    TRAINER,
    is_first_process,
    package_root,
    reachable,
    run_settings,
    running_parser,
)
from bundle.one_line import report_in_one_line

__all__ = ["check_command", "check_config", "check_files", "check_keys", "package_root", "preflight"]


def check_config() -> None:
    """First step of ``initialize``: the config says nothing in vain, and its texts are those that were typed.

    On the command line it also has errors shown in one line. Nothing is built, looked for or written, so that other
    programs can load the bundle and take its parts.

    Raises:
        ValueError: If a key is unknown or a value is of another kind than the one that it replaces.
    """
    if is_bundle_command(sys.argv):
        sys.excepthook = report_in_one_line
    running = running_parser()
    if running is None:
        return
    parser, _ = running
    try:
        meant = {**check_command(sys.argv), **_device_as_such(parser)}
    except (ValueError, OSError):
        if is_first_process():
            raise
        raise SystemExit(1) from None  # the first process says why
    corrections = {key: value for key, value in meant.items() if parser.get(key) != value}
    if corrections:
        parser.update(corrections)
        parser.parse(reset=True)


def check_command(argv: Sequence[str]) -> dict[str, Any]:
    """Check the configs and arguments of a bundle command; those of another program are not looked at.

    Returns:
        By key, the values that were meant where MONAI gets others.

    Raises:
        FileNotFoundError: If a config file is missing.
        ValueError: If a key is unknown or a value is of another kind than the one that it replaces.
    """
    command_line = parse_command_line(argv)
    if command_line is None:
        return {}
    merged = check_keys(command_line.configs, run_ids=command_line.run_ids)
    meant = dict(_as_typed(command_line, dict(flatten(merged))))
    args = {key: meant.get(key, value) for key, value in command_line.args.items()}
    typed = {key: meant.get(key, value) for key, value in command_line.overrides.items()}
    merged = check_overrides(args, merged, command_line.run_ids, command_line.args_file)
    check_overrides(typed, merged, command_line.run_ids)
    return meant


def preflight(output_dir: str | Path) -> None:
    """First step of every run, before anything is built.

    Looks for the files and the device that the run will need, takes ``output_dir`` for this run alone, and records the
    merged config there as ``config.json``. Then processes of ``torchrun`` join, the data list is made unless it is
    there, and MLflow is tried. Of several processes the first does all that for the others.

    Args:
        output_dir: Folder of this run; made if it is not there.

    Raises:
        ValueError: If the config, the device or the folder cannot be used, or holds a run of another configuration.
        FileNotFoundError: If a file is missing.
    """
    check_config()
    running = running_parser()
    if is_first_process():
        if running is not None:
            _check_imports(running[0])
            _check_components(*running)
            _check_inputs(*running)
            _check_device(running[0])
        hold_folder(output_dir)
        if running is not None:
            _check_resume(*running, Path(output_dir))
            config = {key: value for key, value in running[0].get().items() if key != "_meta_"}
            write_text(Path(output_dir) / "config.json", json.dumps(config, indent=2, default=str))
    if running is not None:
        _prepare_run(*running)


def _prepare_run(parser: ConfigParser, run_id: str) -> None:
    """Join the other processes, if any; make what they would make at the same time: MLflow's tables, data list."""
    read = reachable(parser, run_id.partition(SEPARATOR)[0])
    if has_several_processes():
        start_processes(parser.get_parsed_content("device"), parser.get("timeout_minutes", 60))
    with first_process_first():
        if "tracking_uri" in read:
            from bundle.engines.tracking import prepare_tracking  # needs an extra that inference does without

            prepare_tracking(*(parser.get_parsed_content(key) for key in ("tracking_uri", "experiment_name")))
        if "datalist" in read:
            parser.get_parsed_content("datalist")
    if has_several_processes() and "seed" in read:  # the first process may have drawn random numbers
        monai.utils.set_determinism(seed=parser.get_parsed_content("seed"))


def _check_imports(parser: ConfigParser) -> None:
    """Refuse a config that imports what is not there: MONAI keeps such an error until the name is used."""
    for imported in parser.globals.values():
        if type(imported).__name__ == "_LazyRaise":
            imported()


def _check_components(parser: ConfigParser, run_id: str) -> None:
    """Refuse a component that is not there, or an argument that it does not take, before anything is built."""
    for key in sorted(reachable(parser, run_id.partition(SEPARATOR)[0])):
        for place, component in _components(key, parser[key]):
            target, given = component["_target_"], [name for name in component if not name.startswith("_")]
            try:
                found = locate(target)
            except ErrorDuringImport:
                continue  # a package is missing: said, with the remedy, where it is used
            if found is None:
                raise ValueError(f"{place}: {target} is not there; check its module and its name")
            try:
                takes = inspect.signature(found).parameters  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue  # what is written in C may not say
            if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
                continue
            for name in given:
                if name not in takes:
                    raise ValueError(f"{place}: {target} has no argument {name!r}; it takes {', '.join(takes)}")


def _components(place: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Components with a dotted name, with where they stand; MONAI finds those of short names itself."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str) and "." in target and not is_expression(target):
            yield place, value
        for name, item in value.items():
            yield from _components(f"{place}{SEPARATOR}{name}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _components(f"{place}{SEPARATOR}{index}", item)


def _check_inputs(parser: ConfigParser, run_id: str) -> None:
    """Refuse a run whose input, checkpoints or data list, as entries that it refers to, are not there or not named."""
    read = reachable(parser, run_id.partition(SEPARATOR)[0])
    paths = {
        key: parser.get_parsed_content(key)
        for key in sorted(read)
        if SEPARATOR not in key and key.rpartition("_")[2] in (*FILES, "input") and not isinstance(parser[key], Mapping)
    }
    if "input" in paths and paths["input"] is None:
        raise ValueError("no input: name what to segment, as in --input path/to/file/or/folder")
    source = paths.pop("input", None)
    for address in filter(is_address, (source, parser.get_parsed_content("send_to") if "send_to" in read else None)):
        PacsAddress.parse(str(address))  # before the config is recorded: a password in it is refused
    files = [path for path in paths.values() if path is not None]
    is_file = source is not None and not Path(source).is_dir() and not is_address(source)
    check_files([source, *files] if is_file else files)


def _check_resume(parser: ConfigParser, run_id: str, output_dir: Path) -> None:
    """Refuse to go on from a checkpoint of another configuration, before anything is built or written.

    A checkpoint that cannot be read is left to the trainer, which may have an earlier one.
    """
    last = CheckpointFolder(output_dir / "checkpoints").last
    is_training = "safe_run" in reachable(parser, run_id.partition(SEPARATOR)[0])
    if not is_training or not last.is_file() or not parser.get_parsed_content("resume"):
        return
    try:
        saved = torch.load(last, map_location="cpu", weights_only=True, mmap=True)["settings"]
    except Exception:  # a damaged file can raise nearly anything
        return
    wanted = run_settings(TRAINER)
    of_trainer = {key: saved[key] for key in ("processes", "batch_size") if key in saved}
    check_settings(saved, {**wanted, **of_trainer}, last)


def _check_device(parser: ConfigParser) -> None:
    """Refuse a device that this machine does not have, and name those that it has."""
    if "device" not in parser:
        return
    try:
        torch.zeros(1, device=parser.get_parsed_content("device")).item()
    except Exception as error:  # a wrong name, no driver, no such GPU: each raises its own
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        asked = str(parser["device"]).removeprefix("$")
        raise ValueError(f"device {asked} cannot be used: this machine has {', '.join(there)}") from error


def _device_as_such(parser: ConfigParser) -> dict[str, str]:
    """``--device cpu`` is a text or a number, where the parts of a config expect a ``torch.device``."""
    device = parser.get("device")
    is_name = isinstance(device, str | int) and not is_expression(device)
    return {"device": f"$torch.device({device!r})"} if is_name else {}


def _as_typed(command_line: CommandLine, below: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Texts that become numbers, lists or less (``a #b``) on their way, and none, true and false, by key."""
    numbers = {key: str(value) for key, value in command_line.args.items() if isinstance(value, int | float)}
    for key, text in {**numbers, **command_line.texts}.items():
        default = below.get(key.replace("#", SEPARATOR))
        is_component = isinstance(command_line.overrides.get(key), Mapping) and "_target_" in str(text)
        if text == "None":
            yield key, None  # MONAI leaves such a value out, so that the config's would count
        if text is None or text == "None" or is_expression(text) or is_component or key == "device":
            continue
        if isinstance(default, bool) and text.lower() in ("true", "false"):
            yield key, text.lower() == "true"
        elif is_text_key(key) or (isinstance(default, str) and not is_expression(default)):
            yield key, text
