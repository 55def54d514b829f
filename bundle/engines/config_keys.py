"""What a config, an overlay and the command line may say: keys that have an effect, values of the right kind.

MONAI's parser ignores a misspelt key in silence, and takes a ``#`` in any text for its separator ``::``.
"""

import difflib
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import optional_import

from bundle.engines.command_line import COMMAND_LINE

SEPARATOR = "::"
REFERENCE = re.compile(r"[@%]([\w:#]+)")
RUN_IDS = ("training", "evaluating", "run", "initialize", "finalize")
ALWAYS_KNOWN = {"imports", "_meta_"}
EXPRESSIONS = ("$", "@", "%")
"""How a text begins that MONAI evaluates."""
TEXT = re.compile(r"(?:.*_)?(?:input|dir|root|checkpoint|pretrained|datalist|uri|name)")
"""Keys of paths, addresses and names: their values are texts, whatever they look like."""


def is_text_key(key: str) -> bool:
    """Whether a key's value is a path, an address or a name."""
    return TEXT.fullmatch(last_part(key)) is not None


def last_part(key: str) -> str:
    """A key without the parts that it is nested in."""
    return key.rpartition(SEPARATOR)[2]


def is_note(key: str) -> bool:
    """Whether a key is a description or one of MONAI's own words, such as ``_target_``."""
    last = last_part(key)
    return last.startswith("_") and last.endswith("_")


def is_expression(value: Any) -> bool:
    """Whether MONAI evaluates a value."""
    return isinstance(value, str) and value.startswith(EXPRESSIONS)


def check_keys(
    configs: Sequence[Path], overrides: Mapping[str, Any] | None = None, run_ids: Iterable[str] = ()
) -> dict[str, Any]:
    """Merge configs and overrides as MONAI does, and refuse keys without effect, and values of another kind.

    A key of an overlay counts if a config below defines it, if anything refers to it or to the table that it is an
    entry of, or if it is an argument of the component that it is put into.

    Args:
        configs: Config files, the base first.
        overrides: Values from the command line, by key.
        run_ids: Keys that a person runs besides the usual ones, to which nothing need refer.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: If a config file is missing.
        ValueError: Naming the key, where it came from, and what is known or expected.
    """
    check_files(configs)
    merged: dict[str, Any] = {}
    for position, file in enumerate(configs):
        _check_layer(ConfigParser.load_config_file(str(file)), merged, run_ids, str(file), is_base=position == 0)
        merged = ConfigParser.load_config_files([str(config) for config in configs[: position + 1]])
    return check_overrides(overrides or {}, merged, run_ids)


def check_overrides(
    overrides: Mapping[str, Any], merged: Mapping[str, Any], run_ids: Iterable[str] = (), source: str = COMMAND_LINE
) -> dict[str, Any]:
    """The same for values, from ``source``, that change single keys of a merged config; returns it with them."""
    for key in overrides:
        if key.startswith("+"):
            raise ValueError(f"{key!r} in {source} would have no effect: '+' adds to a list in a config file only")
    _check_layer(overrides, merged, run_ids, source)
    return {**merged, **overrides}


def check_files(files: Iterable[str | Path]) -> None:
    """Refuse a run whose files are not there, naming every one, or are folders.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is a folder.
    """
    paths = [Path(file) for file in files]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"not found: {', '.join(missing)}; correct the path, or if a stage makes it, run that first"
        )
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, but a file is expected: name the file in it")


def _check_layer(
    layer: Mapping[str, Any], below: Mapping[str, Any], run_ids: Iterable[str], source: str, is_base: bool = False
) -> None:
    layer = {key.replace("#", SEPARATOR): value for key, value in layer.items()}
    known_ids = {*ALWAYS_KNOWN, *RUN_IDS, *run_ids}
    known = dict(flatten(below))
    for key, value in flatten(layer):
        if not is_note(key):
            _check_value(key, value, known.get(key), source)
    if is_base:
        return
    text = json.dumps({**below, **layer}, default=str).replace("#", SEPARATOR)
    references = set(REFERENCE.findall(text))
    for key, _ in flatten(layer):
        name = key.lstrip("+")
        if is_note(name) or name in known or name.split(SEPARATOR, 1)[0] in known_ids or name in references:
            continue
        if not _is_entry_of_table(name, known, references) and not _is_argument(name, known, layer):
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else "; it is not in the configs below and nothing refers to it"
            )
            raise ValueError(f"unknown config key {name!r} in {source}{hint}")


def _check_value(key: str, value: Any, below: Any, source: str) -> None:
    """Refuse a text that MONAI would change, and a value that is not of the kind that it replaces."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and "#" in (REFERENCE.sub("", text) if is_expression(text) else text):
            raise ValueError(
                f"{key} in {source} has a '#', which MONAI takes for '{SEPARATOR}': {text!r}; rename it, or name a "
                "link to it"
            )
    if value is not None and not is_expression(value) and (expected := _expected(key, value, below)):
        raise ValueError(f"{key} in {source} must be {expected}, got {value!r}")


def _expected(key: str, value: Any, below: Any) -> str | None:
    """What the value should be; None if it is that."""
    if isinstance(below, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(below, int | float):
        return None if isinstance(value, int | float) and not isinstance(value, bool) else f"a number, such as {below}"
    if isinstance(below, list):
        return None if isinstance(value, list | tuple) else "a list, as in \"['a', 'b']\""
    if isinstance(value, bool) and SEPARATOR in key:
        return None  # of a component, such as timm's pretrained
    if is_text_key(key) and (not isinstance(value, str | Path | Mapping) or value == ""):
        return "one text that is not empty" + ("; for several inputs name their folder" if key == "input" else "")
    return None


def _is_entry_of_table(key: str, known: Mapping[str, Any], references: set[str]) -> bool:
    """Whether the key is an entry of a plain table below that something refers to as a whole."""
    table = key.rpartition(SEPARATOR)[0]
    value = known.get(table)
    return table in references and isinstance(value, Mapping) and "_target_" not in value


def _is_argument(key: str, known: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    """Whether a key below a component is new there, and one of its arguments (or a part of a replaced component)."""
    parts = key.split(SEPARATOR)
    own = {name.lstrip("+"): value for name, value in flatten(layer)}
    for depth in range(len(parts) - 1, 0, -1):
        parent = SEPARATOR.join(parts[:depth])
        value = own.get(parent)
        if isinstance(value, Mapping) and "_target_" in value:
            return True  # the overlay brings this component whole; building it checks its arguments
        if isinstance(value, Mapping) and all(isinstance(entry, Mapping) for entry in value.values()):
            return True  # or a table of components, in place of what was there
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


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every entry of nested tables by its whole key, the tables themselves too."""
    for key, value in config.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}{SEPARATOR}")
