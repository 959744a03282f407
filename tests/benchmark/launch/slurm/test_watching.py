"""What is said of queued jobs, from the files that they leave and the states that SLURM gives them."""

from __future__ import annotations

import pytest

from benchmark.launch.job import job_graph
from benchmark.launch.order import FAILURE, WorkOrder
from benchmark.launch.slurm.commands import QueuedState
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.slurm.watching import Watch
from benchmark.launch.time_limit import TimeLimit


class Queue:
    """A watch of jobs with the ids 7_0, 7_1, ..."""

    def __init__(self, jobs, queued):
        self.jobs, self.queued, self.lines = jobs, queued, []
        self.watch = Watch(jobs, queued, TimeLimit(), self.lines.append)
        ids = {job.name: f"7_{index}" for index, job in enumerate(jobs)}
        self.queued.add(ids, "x")
        self.watch.queue(ids)

    def look(self, *states):
        """Look with the states of the jobs, by position, perhaps with a reason; None for one unknown to SLURM."""
        self.lines.clear()
        self.watch.look({f"7_{index}": QueuedState(*state.split("|")) for index, state in enumerate(states) if state})
        return [line.replace(self.jobs[0].run, "A") for line in self.lines]

    def end(self, index, code):
        (self.queued.folder / f"7_{index}.ended").write_text(f"{code} x\n")


@pytest.fixture
def make_queue(tmp_path, make_experiment):
    def make(shards=1):
        order = WorkOrder(
            experiment=make_experiment(),
            out=tmp_path,
            data_dir=None,
            device="cpu",
            threads=1,
            command="c",
            shards=shards,
        )
        return Queue(job_graph([order]), Queued(tmp_path))

    return make


def test_a_job_starts_is_queued_again_and_ends(make_queue):
    queue = make_queue()

    assert queue.look("PENDING") == []
    assert queue.look("RUNNING") == ["start  A"]
    assert queue.look("COMPLETING") == []
    assert queue.look("PENDING") == ["queued A again: its state is saved"]
    assert queue.look("RUNNING") == ["start  A"]
    queue.end(0, 0)
    assert queue.look("COMPLETING") == ["done   A  0s  [1/1, all finished]"]
    assert (queue.watch.unfinished, queue.watch.outcome().failed, queue.watch.outcome().left) == ([], (), ())


def test_a_job_that_was_fast_has_started_too(make_queue):
    queue = make_queue()
    queue.end(0, 0)

    assert queue.look(None) == ["start  A", "done   A  0s  [1/1, all finished]"]


def test_a_failure_is_reported_by_its_last_line_and_what_needs_it_is_not_run(make_queue):
    queue = make_queue(shards=2)
    folder = queue.jobs[0].order.folder
    folder.mkdir(parents=True)
    (folder / FAILURE).write_text("Traceback\nValueError: too small\n")
    queue.end(0, 1)

    lines = queue.look("COMPLETING", "PENDING", "PENDING", "PENDING")

    assert lines == [
        f"FAILED A network: ValueError: too small (see {folder / FAILURE})  [1/4, 3 left]".replace(
            queue.jobs[0].run, "A"
        ),
        "not run  A attack 1/2: it needs A network, which failed",
        "not run  A record: it needs A attack 1/2, which failed",
        "not run  A attack 2/2: it needs A network, which failed",
    ]
    assert queue.watch.outcome().failed == (queue.jobs[0].run,)
    assert queue.watch.outcome().left == ()


def test_a_job_that_vanishes_has_failed_once_slurm_says_so_twice(make_queue):
    queue = make_queue()
    queue.look("RUNNING")

    assert queue.look(None) == []
    (line,) = queue.look(None)

    reason = "SLURM's job 7_0 was cancelled, or ended before its worker said anything; its output: "
    assert line.startswith(f"FAILED A: {reason}")
    assert (queue.jobs[0].order.folder / FAILURE).read_text().startswith(reason)  # which `plan` and `status` show
    assert queue.watch.outcome().failed == (queue.jobs[0].run,)


def test_a_last_file_that_comes_late_is_no_failure(make_queue):
    queue = make_queue()
    queue.look("RUNNING")
    queue.look(None)
    queue.end(0, 0)

    assert queue.look(None)[0].startswith("done   A")


def test_without_an_answer_of_slurm_nothing_is_concluded(make_queue):
    queue = make_queue()
    queue.look("RUNNING")

    for _ in range(5):
        assert queue.watch.look(None) is False
    assert len(queue.watch.unfinished) == 1


def test_what_stopped_for_good_is_left_with_what_needs_it(make_queue):
    queue = make_queue(shards=2)
    queue.end(0, 4)

    lines = queue.look("COMPLETING", "PENDING", "PENDING", "PENDING")

    assert lines == ["stopped A network"]
    assert queue.watch.unfinished == []
    assert (queue.watch.outcome().failed, queue.watch.outcome().left) == ((), (queue.jobs[0].run,))


def test_what_is_gone_after_this_run_has_cancelled_it_is_left(make_queue):
    queue = make_queue()
    queue.watch.cancelled = True
    queue.look(None)

    assert queue.look(None) == ["left   A: it was cancelled"]
    assert queue.watch.outcome().left == (queue.jobs[0].run,)


def test_work_of_another_process_is_named_once(make_queue):
    queue = make_queue()
    (queue.queued.folder / "7_0.elsewhere").write_text("on b (process 3) since noon\n")

    assert queue.look("RUNNING") == [
        "start  A",
        "elsewhere  A: on b (process 3) since noon",
    ]
    assert queue.look("RUNNING") == []


def test_a_reason_for_which_jobs_may_never_start_is_reported_once_while_it_lasts(make_queue):
    queue = make_queue(shards=2)
    gone = "PENDING|ReqNodeNotAvail"

    assert queue.look("PENDING|Priority", *["PENDING|Dependency"] * 3) == []
    assert queue.look(gone, *["PENDING|Dependency"] * 3) == ["waiting A network, by SLURM's reason ReqNodeNotAvail"]
    assert queue.look(gone, *["PENDING|Dependency"] * 3) == []
    assert queue.look(*["PENDING|JobHeldUser"] * 4) == ["waiting A network and 3 more, by SLURM's reason JobHeldUser"]
    assert queue.look("RUNNING|None", *["PENDING|Dependency"] * 3) == ["start  A network"]
    assert queue.look(gone, *["PENDING|Dependency"] * 3) == [
        "queued A network again: its state is saved",
        "waiting A network, by SLURM's reason ReqNodeNotAvail",
    ]
