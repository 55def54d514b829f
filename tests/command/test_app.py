"""The command ``vfss``: it answers at once, says what it works with, and a mistake is one line with the remedy."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bundle.command import workflow
from bundle.command.app import app, main

COMMANDS = ["segment", "watch", "distill", "train", "adapt", "evaluate", "export"]
COMMANDS += ["deidentify", "verify", "demo", "annotate"]
HEAVY = ("torch", "monai", "numpy", "pydicom", "av", "rich")


def error_of(capsys, *arguments: str) -> str:
    """The one line that a person sees."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_help_names_every_sub_command():
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert len(app.registered_commands) == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_sub_command_has_help(name):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_help_loads_nothing_heavy():
    script = "import sys; from bundle.command.app import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += f"sys.exit(' '.join(set({HEAVY}) & sys.modules.keys()) or None)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_a_film_that_is_not_there(capsys, tmp_path):
    line = error_of(capsys, "segment", str(tmp_path / "film.mp4"), "--output", str(tmp_path / "out"))
    assert line.startswith("error: not found: ")


def test_a_model_without_its_card(capsys, tmp_path):
    assert "no model.json beside" in error_of(capsys, "segment", "film.mp4", "--model", str(tmp_path / "model.pt"))


def test_a_run_says_model_device_and_limits_first(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["segment", str(tmp_path / "film.mp4"), "--output", str(tmp_path / "out"), "--device", "cpu"])
    told = capsys.readouterr().err
    assert "efficientvit_b0, 512 x 512 pixels, 12 structures" in told
    assert "device   cpu" in told
    assert "research use only, not for diagnosis; trained and measured on phantom frames" in told
    assert "Only proceed if this config is from a source you trust" not in told  # MONAI's notice is for others' configs


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf{}", "begins with a byte order mark: save it as UTF-8 without one"),
        (b'{"epochs": 3,}', "line 1 column"),
        (b"[1]", "must hold one table of keys and values"),
        (b'{"epochs": "\xff"}', "cannot be read as a config"),
        (b'{"trian::trainer::max_epochs": 3}', "unknown config key 'trian::trainer::max_epochs'"),
    ],
)
def test_a_config_that_monai_would_end_in_a_traceback(capsys, tmp_path, content, said):
    overlay = tmp_path / "overlay.json"
    overlay.write_bytes(content)
    line = error_of(capsys, "train", "--config", str(overlay))
    assert line.startswith("error: ")
    assert said in line
    assert "overlay.json" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nowhere.json"], "no config file nowhere.json: check the path, or name one of "),
        (["trian::trainer::max_epochs=3"], "unknown config key 'trian::trainer::max_epochs' in the command line"),
        (["epochz=3"], "unknown config key 'epochz' in the command line; did you mean 'epochs'?"),
        (["epochs"], "expected KEY=VALUE, such as epochs=3, got 'epochs'"),
        (["epochs=three"], "epochs in the command line must be a number"),
        (["epochs=1", "epochs=2"], "epochs is given twice"),
        (["config_file=a.json"], "config_file is no key of a config: name overlays with --config"),
    ],
)
def test_an_override_that_would_have_no_effect(capsys, arguments, said):
    assert said in error_of(capsys, "distill", *arguments)


def test_a_folder_that_is_no_bundle_is_not_verified(capsys, tmp_path):
    assert error_of(capsys, "verify", str(tmp_path)).startswith("error: ")


def test_an_option_of_the_annotation_app_is_checked(capsys, tmp_path):
    pytest.importorskip("bundle.annotation.server")
    assert "unknown options ['modle']" in error_of(capsys, "annotate", str(tmp_path), "modle=x.pt")


def test_results_go_below_the_current_folder_unless_an_overlay_says_otherwise(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(
        "bundle.command.workflow.run_configs", lambda configs, run_id, values: asked.update(values, run_id=run_id)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps({"student_checkpoint": None}))
    main_without_exit(["evaluate", "checkpoint=x.pt"])
    assert asked["checkpoint"] == "x.pt"
    assert asked["output_dir"] == str(tmp_path / "runs" / "evaluate")
    asked.clear()
    main_without_exit(["train", "--config", "mine.json", "epochs=1", "--device", "cpu"])
    assert "student_checkpoint" not in asked
    assert asked["epochs"] == "1"
    assert asked["device"] == "cpu"
    asked.clear()
    main_without_exit(["distill", "--config", "smoke.json"])
    assert asked["output_dir"] == str(tmp_path / "runs" / "smoke")


def main_without_exit(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0


def test_an_overlay_of_segment_that_is_not_there(capsys):
    line = error_of(capsys, "segment", "film.mp4", "--config", "no_such_overlay.json")
    assert "no config file no_such_overlay.json" in line
    assert "realtime.json" in line


def test_packages_are_hidden_from_monais_first_import_and_there_again_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "monai", raising=False)
    with workflow.without("a_package_that_is_nowhere", "json"):
        assert sys.modules["a_package_that_is_nowhere"] is None
        assert sys.modules["json"] is json
    assert "a_package_that_is_nowhere" not in sys.modules
    monkeypatch.setitem(sys.modules, "monai", json)
    with workflow.without("a_package_that_is_nowhere"):
        assert "a_package_that_is_nowhere" not in sys.modules
