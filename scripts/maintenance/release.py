"""Prepare a release.

    python scripts/maintenance/release.py 0.2.0 --summary "one line for the model zoo" [--write]

Without --write nothing changes: the lines that would be written are shown.
"""

import argparse
import datetime
import difflib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ReleaseError(ValueError):
    """What is wrong with the version, the change log or the clone."""


def release_texts(root: Path, version: str, date: str, summary: str = "") -> dict[Path, str]:
    """New texts of the files that state the version: pyproject.toml, metadata, citation, change log.

    The section `Unreleased` becomes the version's, under an empty one; `## [0.2.0] - unreleased` gets its date.

    Raises:
        ReleaseError: If the version is no later one, nothing is listed for it, or it has no summary.
    """
    paths = {name: root / name for name in ("pyproject.toml", "configs/metadata.json", "CITATION.cff", "CHANGELOG.md")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    before = tomllib.loads(texts["pyproject.toml"])["project"]["version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"expected a version of three numbers, such as 0.2.0, got {version!r}")
    is_open = f"## [{version}] - unreleased" in texts["CHANGELOG.md"]
    if _numbers(version) < _numbers(before) or (version == before and not is_open):
        raise ReleaseError(f"expected a version after {before}, which pyproject.toml states, got {version}")
    changes = _dated(texts["CHANGELOG.md"], version, date)
    metadata = json.loads(texts["configs/metadata.json"])
    summary = summary or metadata["changelog"].get(version, "")
    if not summary:
        raise ReleaseError(f"metadata.json needs a line about {version}: add --summary")
    metadata |= {"version": version, "changelog": metadata["changelog"] | {version: summary}}
    pyproject = _replaced(texts["pyproject.toml"], r'^version = ".*"', f'version = "{version}"')
    citation = _replaced(texts["CITATION.cff"], r"^version: .*", f"version: {version}")
    citation = _replaced(citation, r"^date-released: .*", f"date-released: {date}")
    written = [pyproject, json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", citation, changes]
    return dict(zip(paths.values(), written, strict=True))


def _dated(changes: str, version: str, date: str) -> str:
    own = rf"## \[(?:{re.escape(version)}\] - unreleased|Unreleased\])\n"
    section = re.search(own + r"(?P<entries>.*?)(?=^## |\Z)", changes, flags=re.MULTILINE | re.DOTALL)
    if section is None or "\n- " not in section["entries"]:
        raise ReleaseError(f"CHANGELOG.md lists nothing for {version}: expected entries under '## [Unreleased]'")
    return _replaced(changes, own, f"## [Unreleased]\n\n## [{version}] - {date}\n")


def _replaced(text: str, pattern: str, by: str) -> str:
    return re.sub(pattern, lambda _: by, text, count=1, flags=re.MULTILINE)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def git(root: Path, *arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def publish(root: Path, texts: dict[Path, str], version: str) -> None:
    """Write the files, commit them and tag the commit; nothing leaves this machine.

    Raises:
        ReleaseError: If there are uncommitted changes, another branch than main, or the tag already.
    """
    if git(root, "status", "--porcelain"):
        raise ReleaseError("there are uncommitted changes: commit or stash them first")
    if (branch := git(root, "branch", "--show-current")) != "main":
        raise ReleaseError(f"releases are made on main, this is {branch}")
    if git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists: a version is published once")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    git(root, "commit", "--all", "--message", f"Release {version}")
    git(root, "tag", "--annotate", f"v{version}", "--message", f"Release {version}")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Show the changes of a release, or make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="three numbers, after the present version")
    parser.add_argument("--summary", default="", help="one line for the change log in metadata.json")
    parser.add_argument("--write", action="store_true", help="write the files, commit and tag")
    options = parser.parse_args(arguments)
    try:
        texts = release_texts(root, options.version, datetime.date.today().isoformat(), options.summary)
        if options.write:
            publish(root, texts, options.version)
            print(
                f"v{options.version} is committed and tagged here. Publish it: git push origin main v{options.version}"
            )
            return
    except ReleaseError as error:
        sys.exit(f"error: {error}")
    for path, text in texts.items():
        name = path.relative_to(root).as_posix()
        lines = difflib.unified_diff(
            path.read_text(encoding="utf-8").splitlines(), text.splitlines(), name, name, "", "", 0
        )
        print("\n".join(line.rstrip() for line in lines))
    print("nothing was written: repeat with --write")


if __name__ == "__main__":
    main()
