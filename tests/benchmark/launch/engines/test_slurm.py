"""The SLURM engine queues each job once, keeps the time limit, and cancels only what it has queued itself."""

from __future__ import annotations

import builtins
import json
import sys
from types import SimpleNamespace

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import SlurmConfig
from benchmark.launch.engine import LaunchContext, make_engine
from benchmark.launch.engines import slurm as engine_module
from benchmark.launch.job import job_graph
from benchmark.launch.order import WorkOrder
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.time_limit import TimeLimit
from benchmark.runtime.stopping import Stopped
from tests.fake_slurm import FakeSlurm


class Cluster:
    """A SLURM on which a test plays what happens between two looks."""

    def __init__(self, folder, patch):
        (folder / "fake").mkdir()
        self.out, self.slurm, self.lines, self.clock = folder, FakeSlurm(folder / "fake", patch), [], 0.0
        self.script = iter(())
        patch.setattr(engine_module, "time", SimpleNamespace(sleep=self._sleep, monotonic=lambda: self.clock))

    def _sleep(self, _):
        self.clock += 60.0
        step = next(self.script)
        if step in (KeyboardInterrupt, Stopped):
            raise step
        step()

    def play(self, jobs, *steps, limit=None, **settings):
        """Run jobs while the steps are taken, one after each look."""
        self.script = iter(steps)
        context = LaunchContext(out=self.out, device="cpu", jobs=1, threads=1)
        with make_engine(SlurmConfig(**settings), context) as engine:
            return engine.run(jobs, limit=TimeLimit(limit, clock=lambda: self.clock), say=self.lines.append)

    def end(self, codes):
        """Let jobs end: exit codes by id."""
        folder = Queued(self.out).folder
        submissions = [json.loads(path.read_text()) for path in folder.glob("queued-*")]
        tokens = {number: each["token"] for each in submissions for number in each["ids"].values()}
        for number, code in codes.items():
            (folder / f"{number}.ended").write_text(f"{code} {tokens[number]}\n")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    return Cluster(tmp_path, monkeypatch)


@pytest.fixture
def jobs(tmp_path, make_experiment):
    return job_graph(
        [
            WorkOrder(
                experiment=make_experiment(seed=seed), out=tmp_path, data_dir=None, device="cpu", threads=1, command="c"
            )
            for seed in range(3)
        ]
    )


def test_arrays_are_cut_their_ids_printed_and_followed_to_the_end(cluster, jobs):
    outcome = cluster.play(
        jobs,
        lambda: cluster.slurm.queue({"10_0": "RUNNING", "10_1": "RUNNING", "11": "PENDING"}),
        lambda: cluster.end({"10_0": 0, "10_1": 0, "11": 0}),
        array_limit=2,
        time="30",
    )

    assert cluster.lines[:2] == [
        "queued 2 jobs as array 10: whole, at most 30 min each",
        "queued 1 job as job 11: whole, at most 30 min each",
    ]
    assert sum(line.startswith("done   ") for line in cluster.lines) == 3
    assert (outcome.failed, outcome.left) == ((), ())


def test_a_second_run_waits_for_what_is_queued_and_queues_the_rest(cluster, jobs):
    with pytest.raises(KeyboardInterrupt):
        cluster.play(jobs[:2], KeyboardInterrupt)
    cluster.slurm.queue({"10_0": "RUNNING", "10_1": "PENDING"})

    cluster.play(jobs, lambda: cluster.end({"10_0": 0, "10_1": 0, "11": 0}))

    assert len(cluster.slurm.scripts()) == 2
    assert f"queued {jobs[1].name} by another run, as job 10_1" in cluster.lines


def test_a_job_that_has_left_the_queue_is_queued_again(cluster, jobs):
    with pytest.raises(KeyboardInterrupt):
        cluster.play(jobs[:1], KeyboardInterrupt)
    cluster.slurm.queue({})

    cluster.play(jobs[:1], lambda: cluster.end({"11": 0}))

    assert len(cluster.slurm.scripts()) == 2


@pytest.mark.parametrize(("answer", "cancelled"), [("y", ["11"]), ("", []), ("n", [])])
def test_ctrl_c_asks_and_cancels_only_jobs_of_this_run(cluster, jobs, monkeypatch, answer, cancelled):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(builtins, "input", lambda question: answer if "cancel 1 job that" in question else "n")
    with pytest.raises(KeyboardInterrupt):
        cluster.play(jobs[:2], KeyboardInterrupt)
    cluster.slurm.queue({"10_0": "RUNNING", "10_1": "PENDING", "11": "PENDING"})

    with pytest.raises(KeyboardInterrupt):
        cluster.play(jobs, KeyboardInterrupt)

    assert cluster.slurm.said("cancelled") == cancelled


def test_without_a_terminal_ctrl_c_cancels_nothing_and_says_how_to(cluster, jobs, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

    with pytest.raises(KeyboardInterrupt):
        cluster.play(jobs, KeyboardInterrupt)

    assert cluster.slurm.said("cancelled") == []
    assert cluster.lines[-1].endswith("to end them: scancel 10")


def test_a_stop_of_this_process_leaves_the_jobs_in_the_queue(cluster, jobs):
    outcome = cluster.play(jobs[:1], Stopped)

    assert (outcome.failed, outcome.left) == ((), (jobs[0].run,))
    assert cluster.slurm.said("cancelled") == []
    assert cluster.lines[-1].endswith("to end them: scancel 10")


def test_when_the_time_is_up_jobs_are_cancelled_and_left(cluster, jobs):
    cluster.slurm.queue({"10_0": "RUNNING", "10_1": "RUNNING", "10_2": "PENDING"})

    def leave():
        cluster.end({"10_0": 0, "10_1": 4})
        cluster.slurm.queue({})

    outcome = cluster.play(jobs, lambda: None, leave, lambda: None, lambda: None, limit=60)

    assert cluster.slurm.said("cancelled") == ["10_0 10_1 10_2"]
    assert (outcome.failed, outcome.left) == ((), (jobs[1].run, jobs[2].run))
    # Should nobody be there to cancel them: SLURM signals them at that time, and they do not come back.
    assert "#SBATCH --time=3\n" in cluster.slurm.scripts()[0]


def test_what_cannot_end_in_time_is_not_queued_or_taken_out_of_the_queue(cluster, jobs):
    limit = TimeLimit(150, clock=lambda: cluster.clock)
    limit.predict({jobs[0].name: 151.0, jobs[1].name: 100.0, jobs[2].name: 10.0})
    cluster.slurm.queue({"10_0": "PENDING", "10_1": "RUNNING"})
    cluster.script = iter([lambda: None, lambda: cluster.end({"10_1": 0})])
    context = LaunchContext(out=cluster.out, device="cpu", jobs=1, threads=1)

    outcome = make_engine(SlurmConfig(), context).run(jobs, limit=limit, say=cluster.lines.append)

    assert cluster.lines[0].startswith(f"left   {jobs[0].name}: it takes about 3 min, and 2 min are left")
    assert "--array=0-1%2" in cluster.slurm.scripts()[0]
    assert cluster.slurm.said("cancelled") == ["10_0"]
    assert (outcome.failed, outcome.left) == ((), (jobs[0].run, jobs[1].run))


def test_a_controller_that_is_away_is_reported_once_and_waited_for(cluster, jobs):
    down = cluster.slurm.folder / "down"

    cluster.play(
        jobs,
        down.touch,
        lambda: None,
        lambda: None,
        lambda: (down.unlink(), cluster.end({"10_0": 0, "10_1": 0, "10_2": 0})),
    )

    assert sum("Unable to contact" in line for line in cluster.lines) == 1


def test_gpus_are_asked_for_where_the_site_has_some(tmp_path, cluster, jobs):
    context = LaunchContext(out=tmp_path, device="auto", jobs=1, threads=1)
    for gres, expected in (("(null)", False), ("gpu:h100:8", True)):
        (cluster.slurm.folder / "gres").write_text(gres)
        cluster.script = iter([KeyboardInterrupt])
        with pytest.raises(KeyboardInterrupt):
            make_engine(SlurmConfig(), context).run(jobs, limit=TimeLimit(), say=cluster.lines.append)
        assert ("--gpus-per-node=1" in cluster.slurm.scripts()[-1]) is expected


def test_without_submitit_the_way_to_get_it_is_named(cluster, monkeypatch):
    monkeypatch.setattr(engine_module.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"needs submitit \(pip install"):
        make_engine(SlurmConfig(), LaunchContext(out=cluster.out, device="cpu", jobs=1, threads=1))
