"""Jobs in the order of their importance, each after what it needs; stopped between two."""

import threading

from bundle.laboratory.studies.stage_runner import Job, Stopped, run_jobs


def jobs_of(done, needs):
    return {name: Job(lambda name=name: done.append(name), needed) for name, needed in needs.items()}


def test_the_first_job_whose_needs_are_met_is_next():
    done = []
    assert run_jobs(jobs_of(done, {"a": ["c"], "b": [], "c": ["long done"]}), 1) == {}
    assert done == ["b", "c", "a"]


def test_a_failure_is_named_and_takes_with_it_only_what_needs_it():
    done = []

    def fail():
        raise RuntimeError("broken")

    jobs = {"a": Job(fail), **jobs_of(done, {"b": ["a"], "c": []})}
    assert run_jobs(jobs, 2) == {"a": "broken"}
    assert done == ["c"]


def test_two_jobs_are_done_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)
    assert run_jobs({name: Job(meeting.wait) for name in "ab"}, 2) == {}


def test_after_a_stop_running_jobs_are_told_and_none_is_begun(capsys):
    told = threading.Event()
    begun = threading.Event()
    done = []

    def work():
        begun.set()
        assert told.wait(10)
        raise Stopped

    jobs = {"a": Job(work), **jobs_of(done, {"b": []})}
    assert run_jobs(jobs, 1, begun.is_set, told.set) == {}
    assert done == []
    assert capsys.readouterr().out.endswith("a: stopped\n")
