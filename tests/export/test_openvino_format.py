"""OpenVINO's import alone reports to its maker; ours does not."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("openvino")


def hosts_asked(command: str, tmp_path, bundle_root) -> list[str]:
    """Machines that a fresh Python, which does not know that a test is running, tries to reach."""
    log = tmp_path / "attempts.log"
    path = f"{bundle_root}:{bundle_root / 'tests' / 'package'}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": path, "NETWORK_GUARD_LOG": str(log)}
    script = f"import network_guard; {command}"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
    return log.read_text().split() if log.exists() else []


def test_ours_does_not(tmp_path, bundle_root):
    ours = "from bundle.export.formats import load_openvino; load_openvino().Core()"
    assert hosts_asked(ours, tmp_path, bundle_root) == []


def test_openvino_reports_when_it_is_imported(tmp_path, bundle_root):
    assert hosts_asked("import openvino", tmp_path, bundle_root) == ["www.google-analytics.com"]
