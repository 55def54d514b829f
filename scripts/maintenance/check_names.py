"""No public function or class of the package has the name of another one, whatever the file: one name, one thing."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Names with two meanings that are still there, each to be renamed: this list may only shrink.
KNOWN = frozenset(
    [
        "check_masks",
    ]
)


def repeated_names(folder: Path, known: frozenset[str] = KNOWN) -> dict[str, list[str]]:
    """Public names that several modules of a folder define, with the places."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(folder).as_posix()}:{node.lineno}")
    return {name: where for name, where in places.items() if len(where) > 1 and name not in known}


if __name__ == "__main__":
    repeated = repeated_names(ROOT / "bundle", known=frozenset())
    for name, where in sorted(repeated.items()):
        note = "known, to be renamed" if name in KNOWN else "rename all but one"
        print(f"{name} is defined {len(where)} times: {', '.join(where)}; {note}")
    if settled := sorted(KNOWN - repeated.keys()):
        print(f"take out of KNOWN, since defined once at most: {', '.join(settled)}")
    sys.exit(not repeated.keys() <= KNOWN)
