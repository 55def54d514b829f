"""Measurements of this repository's benchmarks: kept as JSON, shown as a page of tables."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from bundle.atomic import write_json, write_text

PACKAGES = ("torch", "monai", "timm", "numpy", "av", "pydicom", "safetensors", "onnxruntime", "openvino", "nncf")
Row = Mapping[str, str | int | float | None]


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    title: str  # Heading
    text: str  # What was measured, how to read it, and what it does not say
    measure: Callable[[], Sequence[Row]]  # Gives the rows of the table; all have the same keys


def measure_section(name: str, section: Section) -> dict[str, Any]:
    """Run one benchmark; the result can be written as JSON and tells where and with what it was measured."""
    rows = [dict(row) for row in section.measure()]
    return {
        "title": section.title,
        "command": f"python scripts/laboratory/bench.py {name}",
        "text": section.text,
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "rows": rows,
    }


def describe_machine() -> str:
    """Processor, cores, memory and accelerator, in words."""
    memory = psutil.virtual_memory().total / 2**30
    words = f"{_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"
    return f"{words}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else f"{words}, no GPU"


def load_record(path: Path) -> dict[str, dict[str, Any]]:
    """Sections by name; none if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_record(record: Mapping[str, Mapping[str, Any]], json_path: Path, page_path: Path) -> None:
    """Write the JSON, and the page made of it alone."""
    write_json(json_path, record)
    write_text(page_path, page(record))


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The record as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` from `benchmarks.json`, which holds the same numbers; each section says where and",
        "with what it was measured. Compare ratios within a section: absolute times are this machine's. All frames are",
        "synthetic.",
    ]
    for section in record.values():
        lines += ["", f"## {section['title']}", "", section["text"], "", *_table(section["rows"]), ""]
        versions = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
        lines += [f"`{section['command']}` on {section['date']}: {section['machine']}; {versions}."]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_cell(row[column]) for column in columns)} |" for row in rows]


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
