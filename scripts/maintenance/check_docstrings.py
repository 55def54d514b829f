"""Args sections against signatures, by pydoclint: those that are there, as no docstring needs one.

pydoclint asks a docstring with any section for all of them; here a function may say what it raises and leave its
arguments to their names. So these findings count: an argument that is documented but gone, and one that a class's Args
section lacks. What a function's Args section lacks is found by ruff (D417).
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FINDING = re.compile(r"(?P<file>.+\.py):(?P<line>\d+): (?P<code>DOC\d+): (?P<what>.*)")


def mismatches(*folders: str | Path) -> list[str]:
    """pydoclint's findings that count, as ``file:line: what``."""
    options = ["--config", ROOT / "pyproject.toml", "--quiet", "--show-filenames-in-every-violation-message", "true"]
    done = subprocess.run(
        [sys.executable, "-m", "pydoclint.main", *options, *folders], cwd=ROOT, capture_output=True, text=True
    )
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode and not any(map(FINDING.match, lines)):
        raise RuntimeError(f"pydoclint did not run: {' '.join(lines)}")
    found = [match for line in lines if (match := FINDING.match(line.strip()))]
    return [f"{match['file']}:{match['line']}: {match['what']}" for match in found if _counts(match)]


def _counts(finding: re.Match[str]) -> bool:
    if finding["code"] not in ("DOC101", "DOC102", "DOC103", "DOC104"):
        return False
    if "in the docstring but not in the function signature" in finding["what"]:
        return True
    before = (ROOT / finding["file"]).read_text(encoding="utf-8").splitlines()[: int(finding["line"])]
    return "__init__" in finding["what"] and "    Args:" in "\n".join(before).rpartition("\nclass ")[2]


if __name__ == "__main__":
    found = mismatches(*sys.argv[1:])
    print("\n".join(found) or "Args sections match the signatures")
    sys.exit(bool(found))
