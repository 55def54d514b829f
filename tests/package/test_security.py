"""What docs/how-to/threats.md says about the code, checked on the code."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "bundle").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])

RUNS_CODE = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "dill.load",
    "dill.loads",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pandas.read_pickle",
    "os.system",
    "os.popen",
    "torch.hub.load",
    "torch.package.PackageImporter",
}
WRITES_WHERE_AN_ARCHIVE_SAYS = {"extractall", "unpack_archive"}
ALLOWED = {
    ("bundle/data/worker_channel.py", "pickle.loads"): "from the process of our own that decodes, over a socket pair",
}
"""Where a call that could run code is meant, and whose bytes it reads."""


def dotted(node: ast.expr) -> str:
    """``torch.load`` of a call's function; only the last name where it is called on something else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_calls(source: str) -> Iterator[str]:
    """Calls that could run code from a file, or write where an archive says, under any import name."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        head, dot, rest = dotted(node.func).partition(".")
        name = names.get(head, head) + dot + rest
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in RUNS_CODE or name.rpartition(".")[2] in WRITES_WHERE_AN_ARCHIVE_SAYS:
            yield name
        if name == "torch.load" and not is_true(keywords.get("weights_only", ast.Constant(True))):
            yield "torch.load without weights_only"
        for option in ("shell", "allow_pickle", "trust_remote_code"):
            if option in keywords and not is_false(keywords[option]):
                yield f"{name} with {option}"


def is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_sources_were_found():
    assert len(SOURCES) > 100


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_read_from_a_file_is_run(path):
    name = path.relative_to(ROOT).as_posix()
    assert [call for call in unsafe_calls(path.read_text()) if (name, call) not in ALLOWED] == []


def test_every_exception_is_still_needed():
    for name, call in ALLOWED:
        assert call in set(unsafe_calls((ROOT / name).read_text())), f"{name} no longer calls {call}"


def test_torch_reads_weights_only_unless_told_otherwise(repository):
    """So since torch 2.6; the project asks for a newer one."""
    import tomllib

    from packaging.requirements import Requirement

    texts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [requirement for text in texts if (requirement := Requirement(text)).name == "torch"]
    assert not any(torch.specifier.contains(version) for version in ("2.5.1", "2.4.0", "1.13.1"))


def test_nothing_listens_on_every_address_by_itself():
    every = ".".join("0000")
    assert [path.name for path in SOURCES if every in path.read_text()] == []


@pytest.mark.slow
def test_a_training_asks_nothing_of_another_machine(tmp_path, repository):
    """MLflow reports its use to its makers unless told not to, and MONAI imports it where it is installed."""
    (tmp_path / "guard").mkdir()
    shutil.copyfile(Path(__file__).with_name("network_guard.py"), tmp_path / "guard" / "sitecustomize.py")
    settings = {"PYTHONPATH": str(tmp_path / "guard"), "NETWORK_GUARD_LOG": str(tmp_path / "attempts.log")}
    configs = [str(repository / "configs" / name) for name in ("train.json", "no_distillation.json", "smoke.json")]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(configs)]
    command += ["--bundle_root", str(repository), "--dataset_dir", str(tmp_path / "data")]
    command += ["--output_dir", str(tmp_path / "out")]
    clean = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
    }  # tests are not tracked
    done = subprocess.run(
        command, cwd=repository, env={**clean, **settings}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    log = tmp_path / "attempts.log"
    assert not log.exists(), f"asked for {log.read_text().split()}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads as read\nread(b'')",
        "import pickle as p\np.load(file)",
        "eval('1')",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch as t\nt.load(path, weights_only=flag)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "archive.extractall(folder)",
        "from shutil import unpack_archive\nunpack_archive(path)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_an_unsafe_call_is_noticed_in_every_spelling(source):
    assert list(unsafe_calls(source))


def test_safe_calls_are_left_alone():
    source = "import torch, re\ntorch.load(path, weights_only=True)\nmodel.eval()\nre.compile('a')\nnp.load(p)\n"
    assert list(unsafe_calls(source)) == []
