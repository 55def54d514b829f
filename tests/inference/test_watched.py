"""A watched folder: each study once, when it is whole; kill -9 loses and repeats nothing; a page says how far it is."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pydicom
import pytest
import requests
from pydicom.uid import generate_uid

from bundle.inference.delivery import Delivery
from bundle.inference.results import DONE, REFUSED, UNSUITABLE, StudyResult, StudyResults
from bundle.inference.status_page import StatusPage
from bundle.inference.study_queue import StudyQueue
from bundle.inference.watched import WatchedStudies
from bundle.phantom.study import generate_study
from bundle.phantom.writer import write_dicom
from tests.inference.test_pacs import OUTPUTS
from tests.servers import free_port, running_orthanc

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cine(tmp_path_factory):
    """A small cine."""
    path = tmp_path_factory.mktemp("cine") / "cine.dcm"
    write_dicom(generate_study(seed=0, size=32, num_frames=2), path, "JANE")
    return pydicom.dcmread(path)


def put(cine, path, study=None, size=None):
    """A copy of a cine that is another series, of a study of its own unless one is given."""
    cine.StudyInstanceUID = study or generate_uid(entropy_srcs=[str(path)])
    cine.SeriesInstanceUID = generate_uid(entropy_srcs=[str(path), "series"])
    cine.SOPInstanceUID = cine.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path), "image"])
    path.parent.mkdir(parents=True, exist_ok=True)
    cine.save_as(path)
    return path


def watch(folder, out, quiet_seconds=0.0, send_to=None):
    return WatchedStudies(folder, out, Delivery(send_to, out, OUTPUTS), quiet_seconds)


def work_off(watched, number, status=DONE):
    """Take so many clips, without a network; gives their files' names."""
    taken = []
    for study in watched:
        taken.append(study.name)
        watched.finish(study, StudyResult(study, f"key{len(taken)}", status, "broken" if status == REFUSED else ""))
        if len(taken) == number:
            watched.stop.file.touch()
    return taken


def idle(watched, seconds=1.0):
    """What else comes in some time."""
    watched._next_look = 0.0
    until, queue = time.monotonic() + seconds, watched.queue
    while time.monotonic() < until:
        watched.look()
        if queue.take() is not None:
            return True
        time.sleep(0.05)
    return False


# What is a study, and when


def test_a_study_waits_until_nothing_of_it_has_come_for_some_time(tmp_path, cine):
    put(cine, tmp_path / "in" / "a.dcm", study="1.2.3")
    watched = watch(tmp_path / "in", tmp_path / "out", quiet_seconds=2.0)
    assert not idle(watched, 0.5)
    put(cine, tmp_path / "in" / "sub" / "b.dcm", study="1.2.3")  # of the same study: it waits anew
    assert not idle(watched, 1.7)
    assert idle(watched, 3.0)
    assert watched.queue.counts() == {"waiting": 1}
    assert sorted(work_off(watched, 2)) == ["a.dcm", "b.dcm"]


def test_a_later_series_is_done_and_one_that_comes_again_unchanged_is_not(tmp_path, cine):
    put(cine, tmp_path / "in" / "a.dcm", study="1.2.3")
    watched = watch(tmp_path / "in", tmp_path / "out")
    assert work_off(watched, 1) == ["a.dcm"]
    assert watched.queue.counts() == {"waiting": 1}  # it was asked to stop before the study was noted as done
    assert not watched.stop.file.exists()
    del watched
    watched = watch(tmp_path / "in", tmp_path / "out")
    put(cine, tmp_path / "in" / "b.dcm", study="1.2.4")
    assert sorted(work_off(watched, 2)) == ["a.dcm", "b.dcm"]


def test_what_is_no_dicom_is_a_study_by_its_entry_in_the_folder(tmp_path, cine):
    (tmp_path / "in" / "pictures").mkdir(parents=True)
    (tmp_path / "in" / "film.avi").write_bytes(b"RIFF")
    (tmp_path / "in" / "notes.txt").write_text("no film")
    watched = watch(tmp_path / "in", tmp_path / "out")
    assert work_off(watched, 1, REFUSED) == ["film.avi"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder to watch"):
        watch(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="quiet_seconds must not be negative"):
        watch(tmp_path / "in", tmp_path / "out", quiet_seconds=-1)


def test_neither_names_nor_uids_are_kept(tmp_path, cine):
    put(cine, tmp_path / "in" / "DOE_JANE.dcm", study="1.2.3.4444")
    watched = watch(tmp_path / "in", tmp_path / "out")
    watched.look()
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"DOE_JANE" not in content
    assert b"1.2.3.4444" not in content


def test_a_table_goes_on_and_a_study_has_one_row(tmp_path):
    source = tmp_path / "a.dcm"
    for _ in range(2):
        results = StudyResults(tmp_path, continues=True)
        for key in ("a", "b", "a"):
            results.add(StudyResult(source, key, DONE, frames=1))
            assert not results.is_known(key)
    rows = (tmp_path / "results.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["a", "b"]


def test_a_thousand_studies_wait_in_the_file_and_not_in_memory(tmp_path, cine, capsys):
    source = put(cine, tmp_path / "one.dcm").read_bytes()
    uid = cine.StudyInstanceUID.encode()
    (tmp_path / "in").mkdir()
    for number in range(1000):
        other = f"1.2.{number + 1000}".ljust(len(uid), "7").encode()
        (tmp_path / "in" / f"{number}.dcm").write_bytes(source.replace(uid, other))
    watched = watch(tmp_path / "in", tmp_path / "out")
    watched.look()
    assert watched.queue.counts() == {"waiting": 1000}
    memory = []
    for number, study in enumerate(watched):
        watched.finish(study, StudyResult(study, f"key{number}", DONE))
        if number == 50:
            tracemalloc.start()
        if number in (100, 200, 300):
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
        if number == 300:
            break
    tracemalloc.stop()
    assert watched.queue.counts() == {"done": 300, "waiting": 700}
    # what is kept of each study grows in both; a table that once becomes larger, in one
    assert min(memory[1] - memory[0], memory[2] - memory[1]) < 50_000


# The status page


@pytest.mark.parametrize(
    ("outcomes", "status", "reason"),
    [
        ([(DONE, ""), (UNSUITABLE, "no neck")], UNSUITABLE, "no neck"),
        ([(UNSUITABLE, "no neck"), (REFUSED, "cut off")], REFUSED, "no neck; cut off"),
        ([(DONE, ""), (DONE, "")], DONE, ""),
    ],
)
def test_a_study_is_what_the_worst_of_its_clips_is(tmp_path, cine, outcomes, status, reason):
    put(cine, tmp_path / "in" / "a.dcm")
    watched = watch(tmp_path / "in", tmp_path / "out")
    watched.look()
    watched._outcomes = outcomes
    watched._end(watched.queue.take())
    (ended,) = watched.queue.latest(1)
    assert (ended.status, ended.reason, ended.clips) == (status, reason, 2)


def test_the_page_says_how_far_it_is(tmp_path, cine):
    for name in ("a.dcm", "b.dcm"):
        put(cine, tmp_path / "in" / name)
    watched = watch(tmp_path / "in", tmp_path / "out")
    address = StatusPage(watched.queue, port=free_port()).start().partition(" page: ")[2]
    assert requests.get(f"{address}status.json", timeout=10).json() == {"counts": {}, "latest": []}
    for _ in zip(range(2), watched, strict=False):
        watched._outcomes = [(REFUSED, "a <broken> file")]
    status = requests.get(f"{address}status.json", timeout=10).json()
    assert status["counts"] == {"refused": 1, "waiting": 1}
    assert status["latest"][0]["reason"] == "a <broken> file"
    page = requests.get(address, timeout=10).text
    assert "<h1>2 studies</h1><p>1 refused, 1 waiting</p>" in page
    assert "a &lt;broken&gt; file" in page
    assert requests.get(f"{address}queue.sqlite", timeout=10).status_code == 404
    assert requests.post(address, timeout=10).status_code == 501


def test_a_port_that_is_taken_is_one_line(tmp_path):
    queue = StudyQueue(tmp_path / "queue.sqlite")
    port = free_port()
    StatusPage(queue, port=port).start()
    with pytest.raises(ValueError, match=f"cannot listen to port {port} of 127.0.0.1"):
        StatusPage(queue, port=port).start()


# kill -9

WORKER = """
import sys, torch
from torch import nn
from bundle.inference.delivery import Delivery
from bundle.inference.predictor import ClipInferer
from bundle.inference.results import StudyResults
from bundle.inference.save import SaveStudyd
from bundle.inference.study_dataset import StudyDataset
from bundle.inference.watched import WatchedStudies

class Bright(nn.Module):
    def forward(self, frames):
        return (frames - 0.5) * 20

torch.set_num_threads(1)
folder, out = sys.argv[1:]
watched = WatchedStudies(folder, out, Delivery(None, out, ["areas"]), quiet_seconds=0.2)
results = StudyResults(out, settings={"network": "bright"}, continues=True)
save = SaveStudyd(["bright"], results, ["areas"], progress=False)
inferer = ClipInferer(32, progress=False)
for chunk in StudyDataset(watched, results, progress=False, finished=watched.finish):
    save({**chunk, "pred": inferer(chunk["image"], Bright())})
"""


def start_worker(folder, out, log):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(out)], stdout=log, env=environment)


def records_of(out):
    """When each study was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("[!.]*/study.json")}


@pytest.mark.slow
def test_kill_minus_nine_loses_and_repeats_nothing(tmp_path, cine):
    number, out = 8, tmp_path / "out"
    for each in range(number):
        put(cine, tmp_path / "in" / f"{each}.dcm")
    log = (tmp_path / "log.txt").open("w")
    before: dict[str, int] = {}
    for kills in (2, 5):  # after so many studies
        worker = start_worker(tmp_path / "in", out, log)
        wait_until(lambda kills=kills: len(records_of(out)) >= kills, worker)
        worker.send_signal(signal.SIGKILL)
        worker.wait(timeout=60)
        records = records_of(out)
        assert before.items() <= records.items()  # what was finished is as it was
        before = records
    worker = start_worker(tmp_path / "in", out, log)
    queue = StudyQueue(out / "queue.sqlite")
    wait_until(lambda: queue.counts() == {"done": number}, worker)
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    log.close()
    assert len(records_of(out)) == number
    assert before.items() <= records_of(out).items()
    rows = (out / "results.csv").read_text().splitlines()[1:]
    assert sorted(row.partition(",")[0] for row in rows) == sorted(records_of(out))
    segmented = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.endswith(" frames")]
    assert len(segmented) <= number
    assert not list(tmp_path.glob("in/*.csv"))


def wait_until(is_so, worker, seconds=400):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A DICOM node


@pytest.mark.slow
def test_what_orthanc_forwards_is_a_study_of_the_folder(tmp_path, cine):
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("storescp is not here: apt-get install --no-install-recommends dcmtk")
    port, inbox = free_port(), tmp_path / "in"
    inbox.mkdir()
    command = [program, "--output-directory", str(inbox), "--sort-on-study-uid", "study", str(port)]
    receiver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with running_orthanc(tmp_path) as (address, _):
            node = {"AET": "VFSS", "Host": "127.0.0.1", "Port": port}
            requests.put(f"{address}/modalities/vfss", json=node, timeout=60).raise_for_status()
            for name, study in (("a", "1.2.3"), ("b", "1.2.3"), ("c", "1.2.4")):
                data = put(cine, tmp_path / f"{name}.dcm", study).read_bytes()
                stored = requests.post(f"{address}/instances", data=data, timeout=60).json()
                answer = requests.post(f"{address}/modalities/vfss/store", data=stored["ID"], timeout=60)
                assert answer.status_code == 200, answer.text
    finally:
        receiver.terminate()
        receiver.wait(timeout=30)
    watched = watch(inbox, tmp_path / "out")
    watched.look()
    assert watched.queue.counts() == {"waiting": 2}
    assert len(work_off(watched, 3)) == 3


def test_the_config_and_the_page_of_the_docs_say_the_same_port():
    config = json.loads((ROOT / "configs" / "watch.json").read_text())
    assert StatusPage.__init__.__defaults__ == (config["status_host"], config["status_port"])
