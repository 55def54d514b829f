"""A missing optional package: one line that names the feature, the package and the extra, whoever imports it."""

import pydoc
import re
import subprocess
import sys
import tomllib

import pytest
from monai.utils import optional_import

from bundle.extras import MissingPackageError, missing_package, needs_extra
from bundle.one_line import report_in_one_line

LINE = "studies needs the package no_such_package, which is not installed: it is in the extra 'laboratory' of"


def write_module(folder, monkeypatch, name: str) -> str:
    lines = ["from bundle.extras import needs_extra", "with needs_extra('laboratory', 'studies'):"]
    (folder / f"{name}.py").write_text("\n".join([*lines, "    import no_such_package.part"]))
    monkeypatch.syspath_prepend(folder)
    return name


def test_the_error_names_feature_package_and_extra():
    with pytest.raises(MissingPackageError, match=LINE), needs_extra("laboratory", "studies"):
        import no_such_package  # noqa: F401


def test_a_module_of_our_own_that_is_missing_is_a_programming_error():
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("laboratory", "studies"):
        import bundle.no_such_module  # noqa: F401
    assert not isinstance(caught.value, MissingPackageError)


def test_the_innermost_feature_is_named():
    outer, inner = needs_extra("train", "training"), needs_extra("laboratory", "studies")
    with pytest.raises(MissingPackageError, match=LINE), outer, inner:
        import no_such_package  # noqa: F401


def test_it_is_one_line_at_the_command_line_though_libraries_replace_the_error(tmp_path, monkeypatch, capsys):
    module = write_module(tmp_path, monkeypatch, "needs_a_package")
    with pytest.raises(pydoc.ErrorDuringImport) as by_target:  # what a config's `_target_` does
        pydoc.locate(f"{module}.thing")
    name, _ = optional_import(module, name="thing")  # what a config's `imports` do
    with pytest.raises(Exception, match="no_such_package") as by_import:
        name()
    for error in (by_target.value, by_import.value):
        report_in_one_line(type(error), error, error.__traceback__)
        told = capsys.readouterr().err
        assert told.startswith(f"error: {LINE}")
        assert told.count("\n") == 1


def test_other_errors_are_none_of_its_business():
    assert missing_package(ValueError("no package of this name")) is None


def test_the_extras_that_are_named_exist(bundle_root):
    extras = tomllib.loads((bundle_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "".join(path.read_text() for path in (bundle_root / "bundle").rglob("*.py"))
    named = set(re.findall(r"needs_extra\(\"([\w-]+)\"", code))
    assert {"train", "deploy", "annotate"} <= named <= extras.keys()


def test_real_time_on_pytorch_needs_no_other_runtime():
    absent = ["onnx", "onnxruntime", "openvino", "nncf"]  # None in sys.modules: as if it were not installed
    script = f"import sys; sys.modules.update(dict.fromkeys({absent})); import bundle.inference.runtimes.load"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_runtime_that_is_not_installed_is_named_with_its_extra_before_anything_is_exported(monkeypatch):
    from bundle.export.deploy import Exporter
    from bundle.inference.runtimes import load

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"runtime onnx needs the package onnxruntime.* extra 'deploy'"):
        load.load_runtime(Exporter(None, "model.pt"), "onnx")
