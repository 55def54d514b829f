"""The set-up's checks and messages, with stand-ins for Python, pip and df: nothing is installed."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = ["awk", "bash", "cat", "dirname", "du", "grep", "mkdir", "rm", "touch"]
"""What the script may find on the machine besides Python, pip and df."""

RECENT_PYTHON = """
case "$*" in
  *"version_info"*) exit 0 ;;
  *"sys.version.split"*) echo 3.11.7 ;;
  *"ensurepip"*) exit ${NO_ENSUREPIP:-0} ;;
  "-m venv "*) target="${@: -1}"; mkdir -p "$target/bin"; cat "$0" > "$target/bin/python"
               chmod +x "$target/bin/python"; echo "command = python -m venv $target" > "$target/pyvenv.cfg" ;;
  "-m pip --version") exit ${NO_PIP:-0} ;;
  "-m pip"*) echo "pip: $*" >> "$PIP_LOG"; case "$*" in *"${PIP_FAILS_ON:-nothing}"*) exit 1 ;; esac ;;
esac
"""

OLD_PYTHON = """
case "$*" in
  *"version_info"*) exit 1 ;;
  *"sys.version.split"*) echo 3.9.2 ;;
esac
"""

SetUp = Callable[..., subprocess.CompletedProcess[str]]


def write_tool(path: Path, body: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{body}")
    path.chmod(0o755)


def write_df(folder: Path, free_gb: float) -> None:
    free_kb = int(free_gb * 1e9 / 1024)
    write_tool(folder / "df", f'echo header; echo "disk 0 0 {free_kb} 0% /"')


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the only tools that the script sees: real small ones, and stand-ins for Python and df."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in [*TOOLS, "chmod"]:  # chmod: for the stand-in Python
        found = shutil.which(tool)
        assert found, f"this machine has no {tool}"
        (folder / tool).symlink_to(found)
    write_df(folder, free_gb=100)
    return folder


@pytest.fixture
def clone(tmp_path: Path, bundle_root: Path) -> Path:
    """A folder with the files that set-up reads."""
    root = tmp_path / "a clone"  # a space, as in many home folders
    (root / "scripts").mkdir(parents=True)
    for name in ["scripts/setup_environment.sh", "constraints.txt", "pyproject.toml", "Makefile"]:
        shutil.copy(bundle_root / name, root / name)
    return root


@pytest.fixture
def set_up(clone: Path, tools: Path, tmp_path: Path) -> SetUp:
    """Run the script in the clone with the stand-ins; keyword arguments become environment variables."""

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(tools), "TMPDIR": str(tmp_path), "PIP_LOG": str(tmp_path / "pip.log"), **variables}
        script = str(clone / "scripts" / "setup_environment.sh")
        return subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=20)

    return run


def test_without_python_it_stops_and_says_what_to_install(set_up: SetUp):
    result = set_up()
    assert result.returncode == 1
    assert "Python >= 3.11 is needed; found: no Python at all" in result.stderr
    assert "apt-get install python3" in result.stderr


def test_with_an_old_python_it_names_the_version_found_and_the_one_needed(set_up: SetUp, tools: Path):
    write_tool(tools / "python3", OLD_PYTHON)
    result = set_up()
    assert result.returncode == 1
    assert "Python >= 3.11 is needed; found: python3 is 3.9.2" in result.stderr


def test_an_old_python_is_passed_over_for_a_newer_one(set_up: SetUp, tools: Path):
    write_tool(tools / "python3", OLD_PYTHON)
    write_tool(tools / "python3.12", RECENT_PYTHON)
    result = set_up()
    assert result.returncode == 0, result.stderr
    assert f"{tools}/python3.12 (3.11.7)" in result.stdout


def test_the_python_that_the_user_names_is_used_or_refused_never_replaced(set_up: SetUp, tools: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    write_tool(tools / "my-python", OLD_PYTHON)
    result = set_up(PYTHON="my-python")
    assert result.returncode == 1
    assert "PYTHON=my-python is 3.9.2" in result.stderr
    missing = set_up(PYTHON="no-such-python")
    assert "PYTHON=no-such-python is no Python that starts" in missing.stderr


def test_a_full_disk_stops_it_before_anything_is_made_and_says_how_much_is_needed(
    set_up: SetUp, tools: Path, clone: Path
):
    write_tool(tools / "python3", RECENT_PYTHON)
    write_df(tools, free_gb=1.5)
    result = set_up()
    assert result.returncode == 1
    assert "not enough disk space for the environment and its downloads" in result.stderr
    assert f"GB needed in {clone}, 1.5 GB free" in result.stderr
    assert not (clone / ".venv").exists()


def test_a_small_temporary_folder_is_noticed_and_another_one_proposed(set_up: SetUp, tools: Path, tmp_path: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    write_tool(
        tools / "df",
        'echo header; case "$*" in *clone*) echo "disk 0 0 99000000 0% /" ;; *) echo "ram 0 0 500000 0% /t" ;; esac',
    )
    result = set_up()
    assert result.returncode == 1
    assert "not enough disk space for pip's downloads" in result.stderr
    assert f"needed in {tmp_path}, 0.5 GB free" in result.stderr
    assert "set TMPDIR to a folder on a larger disk" in result.stderr


def test_a_python_that_can_make_no_environment_is_refused_with_the_package_that_helps(set_up: SetUp, tools: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    result = set_up(NO_ENSUREPIP="1", NO_PIP="1")
    assert result.returncode == 1
    assert "it has neither ensurepip nor pip" in result.stderr
    assert "apt-get install python3-venv python3-pip" in result.stderr


def test_pip_alone_is_enough_where_ensurepip_is_not_packaged(set_up: SetUp, tools: Path, clone: Path, tmp_path: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    result = set_up(NO_ENSUREPIP="1")
    assert result.returncode == 0, result.stderr
    assert f"-m pip --python {clone}/.venv/bin/python install" in (tmp_path / "pip.log").read_text()


def test_the_stamp_is_written_last_so_that_a_failed_set_up_is_taken_up_again(set_up: SetUp, tools: Path, clone: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    stamp = clone / ".venv" / ".installed"
    failed = set_up(PIP_FAILS_ON="torchvision")
    assert failed.returncode == 1
    assert "pip could not install: torch torchvision" in failed.stderr
    assert not stamp.exists()
    again = set_up()
    assert again.returncode == 0, again.stderr
    assert "continuing with the one that is there" in again.stdout
    assert stamp.read_text().strip() == str(clone)


def test_torch_comes_before_the_rest_and_every_step_is_constrained(set_up: SetUp, tools: Path, tmp_path: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    assert set_up().returncode == 0
    calls = (tmp_path / "pip.log").read_text().splitlines()
    installs = [call for call in calls if " install " in call]
    assert len(installs) == 3
    assert all("--constraint" in call for call in installs)
    assert installs[1].endswith("torch torchvision")
    assert installs[2].endswith(".[inference,deploy,quantize,train,laboratory,test,docs]")
    assert "--no-build-isolation" in installs[2]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda venv: write_tool(venv / "bin" / "python", "exit 127"), "its Python is gone or older than 3.11"),
        (
            lambda venv: (venv / "pyvenv.cfg").write_text("command = python -m venv /elsewhere/.venv"),
            "it was made for another folder",
        ),
    ],
)
def test_an_environment_that_cannot_work_is_made_anew_and_the_reason_said(
    set_up: SetUp, tools: Path, clone: Path, damage: Callable[[Path], object], reason: str
):
    write_tool(tools / "python3", RECENT_PYTHON)
    assert set_up().returncode == 0
    damage(clone / ".venv")
    result = set_up()
    assert result.returncode == 0, result.stderr
    assert f"Making .venv anew: {reason}." in result.stdout


def test_a_folder_that_is_no_environment_is_left_alone(set_up: SetUp, tools: Path, clone: Path):
    write_tool(tools / "python3", RECENT_PYTHON)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "thesis.txt").write_text("precious")
    result = set_up()
    assert result.returncode == 1
    assert "exists but is not a virtual environment" in result.stderr
    assert (clone / ".venv" / "thesis.txt").read_text() == "precious"


def run_make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=environment, capture_output=True, text=True, timeout=20, check=True
    )


def test_make_sets_up_once_then_reuses_until_the_versions_change_or_the_clone_moves(clone: Path):
    script = "mkdir -p .venv && echo run >> runs.txt && pwd -P > .venv/.installed"
    write_tool(clone / "scripts" / "setup_environment.sh", script)
    for _ in range(2):
        run_make(clone, ".venv/.installed")
    assert (clone / "runs.txt").read_text().split() == ["run"]

    later = (clone / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(clone / "constraints.txt", (later, later))
    run_make(clone, ".venv/.installed")
    assert (clone / "runs.txt").read_text().split() == ["run"] * 2

    os.utime(clone / "constraints.txt", (0, 0))
    moved = clone.rename(clone.with_name("moved"))
    run_make(moved, ".venv/.installed")
    assert (moved / "runs.txt").read_text().split() == ["run"] * 3


def test_make_alone_lists_the_targets(clone: Path):
    listed = run_make(clone).stdout
    for target in ["demo", "test", "check", "baseline", "bench", "docs-figures", "teachers", "clean"]:
        assert f"make {target} " in listed
