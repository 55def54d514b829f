"""What ``python -m monai.bundle run …`` was asked to do: the texts as a person typed them, and where they stand."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

RUN_OPTIONS = {
    "run_id",
    "init_id",
    "final_id",
    "meta_file",
    "config_file",
    "logging_file",
    "tracking",
    "args_file",
    "workflow_name",
    "workflow_type",
    "properties_path",
}
"""Arguments of ``monai.bundle run`` itself; every other one overrides a config key."""
COMMAND_LINE = "the command line"
OPTION = re.compile(r"--|-[a-zA-Z]")


class CommandLine(NamedTuple):
    """One bundle command.

    ``overrides`` are those of the command line itself as MONAI gets them, ``texts`` the same as they were typed: None
    where a key came without a value. ``args`` are from the file of further arguments; its name is empty without one.
    """

    run_ids: set[str]
    configs: list[Path]
    args_file: str
    args: dict[str, Any]
    overrides: dict[str, Any]
    texts: dict[str, str | None]


def is_bundle_command(argv: Sequence[str]) -> bool:
    """Whether this process is ``python -m monai.bundle run``."""
    return len(argv) > 1 and "monai" in argv[0] and argv[1] == "run"


def parse_command_line(argv: Sequence[str]) -> CommandLine | None:
    """The bundle command of this process; None if it runs something else.

    Raises:
        ValueError: If an option is given twice, or there is more than one run id, as for a list of files.
    """
    if not is_bundle_command(argv):
        return None
    words, texts = _split(argv[2:])
    args_file = texts.get("args_file") or ""
    from_file = _read_args(args_file)
    values: dict[str, Any] = {key: True if text is None else as_fire_reads(text) for key, text in texts.items()}
    config_file = values.get("config_file", from_file.get("config_file"))
    if config_file is None:
        return None
    files = [config_file] if isinstance(config_file, str) else list(config_file)
    run_ids = {str(options["run_id"]) for options in (from_file, values) if "run_id" in options}
    return CommandLine(
        run_ids | set(words),
        [Path(str(file)) for file in files],
        args_file,
        _overrides(from_file),
        _overrides(values),
        _overrides(texts),
    )


def as_fire_reads(text: str) -> Any:
    """A text of the command line as MONAI gets it from Fire: ``7``, ``a,b`` and ``[a]`` are no texts there."""
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text)


def _split(arguments: Iterable[str]) -> tuple[list[str], dict[str, str | None]]:
    """Words without an option, and options with their texts."""
    words: list[str] = []
    options: dict[str, str | None] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not OPTION.match(argument):
            words.append(argument)
            continue
        name, equals, text = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if name in options:
            raise ValueError(f"--{name} is given twice: one run takes one; for several inputs name their folder")
        has_text = bool(equals) or (bool(rest) and not OPTION.match(rest[0]))
        options[name] = (text if equals else rest.pop(0)) if has_text else None
    if len(words) > 1:
        raise ValueError(
            f"expected one thing to run, such as 'run', got {' '.join(words)}: for several inputs name their folder, "
            "and put a path with blanks in quotation marks"
        )
    return words, options


def _read_args(text: str) -> dict[str, Any]:
    """Arguments from ``--args_file``; of several files the later counts, as in MONAI."""
    names = as_fire_reads(text) if text else []
    files = [names] if isinstance(names, str) else names
    return {key: value for file in files for key, value in ConfigParser.load_config_file(str(file)).items()}


def _overrides(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in RUN_OPTIONS}
