"""The documentation as a website: it builds strictly, from the pages as they are, and its parts are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a broken link, or a page that the navigation lacks, is an error."""
    folder = tmp_path_factory.mktemp("site")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_the_home_is_the_index_by_audience_and_the_model_card_has_its_own_page(site):
    assert "I have a film" in (site / "index.html").read_text()
    assert "<h1" in (site / "model-card.html").read_text()


def test_a_link_to_a_file_of_the_repository_leads_to_its_page(site):
    (link,) = set(re.findall(r'href="([^"]*models/model\.json[^"]*)"', (site / "model-card.html").read_text()))
    assert "held_out" in (site / link).read_text()


def test_what_configs_name_is_documented_from_its_docstrings(site):
    assert "bundle.losses.distillation.DistillationLoss" in (site / "reference/parts/losses.html").read_text()


def test_the_search_knows_the_pages(site):
    assert "hausdorff" in (site / "search" / "search_index.json").read_text()


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"(https?://[^\"]+)", page.read_text())
        assert loaded == [], page
