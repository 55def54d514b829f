"""The record of benchmarks: sections are measured one by one, and the page shows what the JSON holds."""

import json

import pytest

from bundle.laboratory.benchmarks import sections as benchmarks
from bundle.laboratory.benchmarks.record import Section


@pytest.fixture
def paths(tmp_path, monkeypatch):
    sections = {
        "one": Section("First", "Of one.", lambda: [{"file": "a", "frames/s": 12.345, "note": None}]),
        "two": Section("Second", "Of two.", lambda: [{"file": "b", "frames/s": 3}]),
    }
    monkeypatch.setattr(benchmarks, "SECTIONS", sections)
    return tmp_path / "benchmarks.json", tmp_path / "benchmarks.md"


def test_a_section_measured_again_leaves_the_others(paths):
    benchmarks.run_benchmarks(["two"], *paths)
    record = json.loads(paths[0].read_text())
    paths[0].write_text(json.dumps({"of an earlier version": record["two"], **record}))
    benchmarks.run_benchmarks(["one"], *paths)
    record = json.loads(paths[0].read_text())
    assert list(record) == ["one", "two", "of an earlier version"]
    assert record["two"]["rows"] == [{"file": "b", "frames/s": 3}]
    assert "torch" in record["one"]["versions"]


def test_the_page_shows_the_records_rows_and_how_to_repeat_them(paths):
    benchmarks.run_benchmarks(["one"], *paths)
    page = paths[1].read_text()
    assert "## First\n\nOf one.\n\n| file | frames/s | note |" in page
    assert "| a | 12.3 | – |" in page
    assert "`python scripts/laboratory/bench.py one` on 2" in page


def test_an_unknown_section_is_refused_with_the_known_ones(paths):
    with pytest.raises(ValueError, match=r"benchmarks are \['one', 'two'\], got \['three'\]"):
        benchmarks.run_benchmarks(["three"], *paths)
