"""The release script: what it writes, what it refuses, and that it changes nothing unless told."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "maintenance"))

import release  # noqa: E402  (a tool, not a package)

CHANGES = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A reader.\n\n## [0.1.0] - 2026-01-01\n\n- All.\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the four files that state the version, and nothing else."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "tiny"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
    )
    content = {"version": "0.1.0", "changelog": {"0.1.0": "first"}, "task": "grayscale ü"}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n")
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.1.0\ndate-released: 2026-01-01\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    for command in (
        ["init", "--initial-branch", "main"],
        ["config", "user.name", "Somebody"],
        ["config", "user.email", "somebody@example.org"],
        ["add", "."],
        ["commit", "--message", "All"],
    ):
        release.git(tmp_path, *command)
    return tmp_path


def texts(clone: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in clone.rglob("[a-zA-Z]*.*") if path.is_file()}


def test_a_dry_run_shows_the_lines_and_writes_nothing(clone: Path, capsys: pytest.CaptureFixture):
    before = texts(clone)
    release.main(["0.2.0", "--summary", "a reader"], clone)
    shown = capsys.readouterr().out
    assert {'+version = "0.2.0"', "+version: 0.2.0", '+        "0.2.0": "a reader"'} <= set(shown.splitlines())
    assert "nothing was written" in shown
    assert texts(clone) == before
    assert release.git(clone, "tag") == ""


def test_a_release_states_the_version_everywhere_and_is_tagged(clone: Path):
    release.main(["0.2.0", "--summary", "a reader", "--write"], clone)
    after = texts(clone)
    assert 'version = "0.2.0"\nrequires-python = ">=3.11"' in after["pyproject.toml"]
    metadata = json.loads(after["metadata.json"])
    assert (metadata["version"], metadata["changelog"]) == ("0.2.0", {"0.1.0": "first", "0.2.0": "a reader"})
    assert "cff-version: 1.2.0\nversion: 0.2.0\n" in after["CITATION.cff"]
    headings = [line for line in after["CHANGELOG.md"].splitlines() if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
    assert headings[1].startswith("## [0.2.0] - 20")
    assert headings[2] == "## [0.1.0] - 2026-01-01"
    assert after["CHANGELOG.md"].index("- A reader.") > after["CHANGELOG.md"].index("## [0.2.0]")
    assert release.git(clone, "describe", "--exact-match") == "v0.2.0"
    assert release.git(clone, "status", "--porcelain") == ""


def test_the_first_version_gets_the_date_that_it_lacks(clone: Path):
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## [0.1.0] - unreleased\n\n- All.\n")
    changes = release.release_texts(clone, "0.1.0", "2026-12-01")[clone / "CHANGELOG.md"]
    assert changes == "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-12-01\n\n- All.\n"


@pytest.mark.parametrize(
    ("version", "changes", "message"),
    [
        ("0.1.0", CHANGES, "expected a version after 0.1.0"),
        ("0.0.9", CHANGES, "expected a version after 0.1.0"),
        ("0.2", CHANGES, "three numbers"),
        ("0.2.0", CHANGES.replace("- A reader.\n", ""), "lists nothing for 0.2.0"),
        ("0.2.0", "# Changelog\n", "lists nothing for 0.2.0"),
    ],
)
def test_what_cannot_be_released_is_refused(clone: Path, version: str, changes: str, message: str):
    (clone / "CHANGELOG.md").write_text(changes)
    with pytest.raises(release.ReleaseError, match=message):
        release.release_texts(clone, version, "2026-12-01", "a reader")


def test_a_version_without_a_summary_is_refused_in_one_line(clone: Path):
    with pytest.raises(SystemExit, match=r"error: metadata\.json needs a line about 0\.2\.0: add --summary"):
        release.main(["0.2.0"], clone)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (["tag", "v0.2.0"], "a version is published once"),
        (["switch", "--create", "other"], "releases are made on main, this is other"),
        (["rm", "--cached", "CITATION.cff"], "uncommitted changes"),
    ],
)
def test_a_clone_in_another_state_is_left_alone(clone: Path, state: list[str], message: str):
    release.git(clone, *state)
    before = texts(clone)
    with pytest.raises(SystemExit, match=message):
        release.main(["0.2.0", "--summary", "a reader", "--write"], clone)
    assert texts(clone) == before


def test_this_repository_can_be_released():
    """The four files have the places that the script fills; the version after a release of today's is looked at."""
    version = json.loads((ROOT / "configs" / "metadata.json").read_text())["version"]
    is_open = f"## [{version}] - unreleased" in (ROOT / "CHANGELOG.md").read_text()
    if is_open or "## [Unreleased]\n\n#" in (ROOT / "CHANGELOG.md").read_text():
        new = version if is_open else "99.0.0"
        written = release.release_texts(ROOT, new, "2099-12-31", "a line")
        assert all(new in text for text in written.values())
        assert written[ROOT / "CITATION.cff"].count("2099-12-31") == 1
