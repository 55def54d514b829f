"""No public function or class of the package has the name of another one, whatever the file: one name, one thing."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def repeated_names(folder: Path) -> dict[str, list[str]]:
    """Public names that several modules of a folder define, with the places."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(folder).as_posix()}:{node.lineno}")
    return {name: where for name, where in places.items() if len(where) > 1}


if __name__ == "__main__":
    repeated = repeated_names(ROOT / "bundle")
    for name, where in sorted(repeated.items()):
        print(f"{name} is defined {len(where)} times: {', '.join(where)}; rename all but one")
    sys.exit(bool(repeated))
