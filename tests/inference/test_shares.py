"""Runs that share a folder of films, as on docs/how-to/many-machines.md: with Slurm and with Ray, as one run does."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle import load_segmenter, read_clip, segment
from bundle.inference.incoming import find_input
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from tests.servers import running_slurm

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/many-machines.md").read_text(encoding="utf-8")
NUM_FILMS = 2


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Small cines."""
    folder = tmp_path_factory.mktemp("films")
    for index in range(NUM_FILMS):
        write_dicom(generate_study(seed=index, size=48, num_frames=2), folder / f"{index}.dcm", f"p{index}")
    return folder


@pytest.fixture
def commands(tmp_path):
    """An environment in which the command is found."""
    command = tmp_path / "bin" / "vfss"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bundle.command.app "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def code(language, contains):
    """The page's block of a language that has a word."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if contains in text)


@pytest.mark.parametrize("number", [1, 2])
def test_shares_are_disjoint_and_together_all(films, tmp_path, number):
    shares = [find_input(films, tmp_path, f"{which + 1}/{number}").studies for which in range(number)]
    assert sorted(study for share in shares for study in share) == sorted(films.iterdir())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("share", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2", ""])
def test_what_is_no_share_is_refused(films, tmp_path, share):
    with pytest.raises(ValueError, match=r"share must be which of how many runs, such as 2/4"):
        find_input(films, tmp_path, share)


def test_a_share_without_studies_is_refused(films, tmp_path):
    with pytest.raises(ValueError, match="nothing is left for share 4/4: studies of the input: 2; use fewer runs"):
        find_input(films, tmp_path, "4/4")


def test_a_pacs_has_no_shares(tmp_path):
    with pytest.raises(ValueError, match="a PACS has no share '1/2'"):
        find_input("http://127.0.0.1/dicom-web?StudyInstanceUID=1.2", tmp_path, "1/2")


@pytest.mark.slow
def test_an_array_of_slurm_has_the_results_of_one_run(films, commands, tmp_path):
    (tmp_path / "segment.sbatch").write_text(code("sh", "SBATCH"))
    place = tmp_path / "slurm"
    place.mkdir()
    with running_slurm(place) as slurm:
        environment = {**commands, "SLURM_CONF": slurm["SLURM_CONF"]}
        # two tasks of one processor, since this machine may have no more
        sizes = ["--wait", "--array=1-2", "--cpus-per-task=1", "--mem=4G", "segment.sbatch", str(films), "results"]
        batch = subprocess.run(["sbatch", *sizes], cwd=tmp_path, env=environment, capture_output=True, text=True)
        logs = "".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
        assert batch.returncode == 0, batch.stderr + logs[-3000:]
    subprocess.run(["bash", "-c", code("sh", "awk")], cwd=tmp_path, check=True)
    whole = ["vfss", "segment", str(films), "--output", "whole", "progress=False"]
    subprocess.run(whole, cwd=tmp_path, env=commands, check=True, capture_output=True)

    tables = [
        list(csv.reader((tmp_path / name / "results.csv").read_text().splitlines())) for name in ("whole", "results")
    ]
    assert sorted(tables[0]) == sorted(tables[1])
    keys = [row[0] for row in tables[0][1:]]
    assert len(keys) == NUM_FILMS
    for key in keys:
        (shared,) = tmp_path.glob(f"results/part-*/{key}")
        for name in ("areas.csv", "measures.csv"):
            assert (shared / name).read_text() == (tmp_path / "whole" / key / name).read_text()
        masks = [nib.load(folder / "masks.nii.gz").dataobj for folder in (shared, tmp_path / "whole" / key)]
        assert np.array_equal(*masks)


@pytest.mark.slow
def test_ray_gives_the_areas_of_the_masks(films, commands, tmp_path):
    pytest.importorskip("ray", reason="Ray is not a requirement: python -m pip install ray[data]")
    (tmp_path / "segment_with_ray.py").write_text(code("python", "import ray"))
    words = [sys.executable, "segment_with_ray.py", str(films), str(tmp_path / "areas")]
    subprocess.run(words, cwd=tmp_path, env=commands, check=True)
    rows = [row for path in (tmp_path / "areas").iterdir() for row in csv.DictReader(path.read_text().splitlines())]
    assert sorted(Path(row.pop("film")).name for row in rows) == [f"{index}.dcm" for index in range(NUM_FILMS)]
    network = load_segmenter()
    masks = segment(read_clip(films / "0.dcm"), network)
    areas = dict(zip(network.structures, map(str, masks.sum(axis=(0, 2, 3)).tolist()), strict=True))
    assert areas in rows
