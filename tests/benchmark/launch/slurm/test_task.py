"""A task runs a worker to its end, whatever happens to it, and queues its job again only if that can help."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
import submitit
from submitit.core.utils import DelayedSubmission, pickle_load

from benchmark.launch.exit_codes import ELSEWHERE, STOPPED
from benchmark.launch.lease import Lease
from benchmark.launch.slurm.task import Task
from tests.fake_slurm import FakeSlurm

# Workers in place of the real one, which takes seconds to start. `starts` counts them.
BEGIN = "import os, signal, sys, time; open('starts', 'a').write('.')\n"
LEAVES = BEGIN + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); print('runs', flush=True); time.sleep(60)"


class Job:
    """A job of SLURM in this process, as submitit would run it in a process of its own."""

    def __init__(self, folder, slurm):
        self.folder, self.slurm = folder, slurm
        self.task = Task([], [folder / "lease-run.json"], 0.4, 1, folder / "log.txt", folder, "x")

    def run(self, *, timeouts=3):
        """Return the exit code of the process; 0 if it does not leave by itself."""
        delayed = DelayedSubmission(self.task)
        delayed.set_timeout(60, timeouts)
        environment = submitit.JobEnvironment()
        environment._handle_signals(environment.paths, delayed)
        try:
            delayed.result()
        except SystemExit as end:
            return end.code
        return 0

    def when_it_runs(self, act):
        """Do something once the worker has written its first line."""

        def wait():
            while not (self.folder / "log.txt").exists() or not (self.folder / "log.txt").read_text():
                time.sleep(0.01)
            act()

        threading.Thread(target=wait).start()

    @property
    def starts(self):
        return len((self.folder / "starts").read_text())

    @property
    def ended(self):
        path = self.folder / "7_0.ended"
        return int(path.read_text().removesuffix(" x\n")) if path.exists() else None


@pytest.fixture
def job(tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    slurm = FakeSlurm(tmp_path / "fake", monkeypatch)
    slurm.queue({"7_0": "RUNNING"})
    for name, value in {
        "SUBMITIT_EXECUTOR": "slurm",
        "SUBMITIT_FOLDER": str(tmp_path),
        "SLURM_JOB_ID": "8",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    changed = (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in changed}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    yield Job(tmp_path, slurm)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def worker(monkeypatch):
    """Return what sets the program that runs in place of the worker."""

    def use(program):
        monkeypatch.setattr(Task, "_command", lambda self: [sys.executable, "-c", program])

    return use


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_ends_with_its_workers_exit_code(job, worker, code):
    worker(f"{BEGIN}print('a line')\nsys.exit({code})")

    assert job.run() == code
    assert (job.ended, job.starts, job.slurm.said("requeued")) == (code, 1, [])
    assert (job.folder / "log.txt").read_text() == "a line\n"


def test_at_the_end_of_its_time_a_job_saves_its_state_and_queues_itself_again(job, worker):
    worker(LEAVES)
    job.when_it_runs(lambda: os.kill(os.getpid(), signal.SIGUSR2))

    assert job.run() == -1
    assert (job.ended, job.slurm.said("requeued")) == (None, ["requeue 7_0"])
    stored = pickle_load(job.folder / "7_0_submitted.pkl")
    assert (stored.function.words, stored._timeout_countdown) == (job.task.words, 3)  # long before its hour was over
    assert not stored.done()


def test_a_worker_that_leaves_on_a_signal_of_its_own_is_queued_again(job, worker):
    worker(f"{BEGIN}sys.exit({STOPPED})")

    assert job.run() == -1
    assert (job.ended, job.slurm.said("requeued")) == (None, ["requeue 7_0"])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_worker_that_is_signalled_before_it_listens_is_queued_again(job, worker, name):
    worker(f"{BEGIN}os.kill(os.getpid(), signal.{name})")

    assert job.run() == -1
    assert (job.ended, job.slurm.said("requeued")) == (None, ["requeue 7_0"])


def test_a_job_that_is_being_cancelled_stays_away(job, worker):
    worker(f"{BEGIN}sys.exit({STOPPED})")
    job.slurm.queue({"7_0": "COMPLETING"})

    assert job.run() == STOPPED
    assert (job.ended, job.slurm.said("requeued")) == (STOPPED, [])


def test_a_job_that_was_out_of_time_too_often_stays_away(job, worker, monkeypatch):
    worker(LEAVES)
    monkeypatch.setattr("submitit.core.job_environment.SignalHandler.has_timed_out", lambda self: True)
    job.when_it_runs(lambda: os.kill(os.getpid(), signal.SIGUSR2))

    assert job.run(timeouts=0) == STOPPED
    assert (job.ended, job.slurm.said("requeued")) == (STOPPED, [])


def test_a_worker_that_is_done_when_the_signal_comes_is_done(job, worker):
    worker(LEAVES.replace("sys.exit(4)", "sys.exit(0)"))
    job.when_it_runs(lambda: os.kill(os.getpid(), signal.SIGUSR2))

    assert job.run() == 0
    assert (job.ended, job.slurm.said("requeued")) == (0, [])


def test_a_killed_worker_is_started_once_more(job, worker):
    worker(f"{BEGIN}if len(open('starts').read()) == 1: os.kill(os.getpid(), signal.SIGKILL)")

    assert job.run() == 0
    assert (job.ended, job.starts) == (0, 2)


def test_a_worker_that_is_killed_again_and_again_fails(job, worker):
    worker(f"{BEGIN}os.kill(os.getpid(), signal.SIGKILL)")

    assert job.run() == 1
    assert (job.ended, job.starts, job.slurm.said("requeued")) == (1, 2, [])


def test_what_another_process_works_on_is_waited_for(job, worker):
    worker(f"{BEGIN}sys.exit({ELSEWHERE} if len(open('starts').read()) == 1 else 0)")
    lease = Lease(job.task.leases[0], "whole", 0.4)
    notes = []

    def release():
        while not (note := job.folder / "7_0.elsewhere").exists():
            time.sleep(0.01)
        notes.append(note.read_text())
        lease.release()

    threading.Thread(target=release).start()

    assert job.run() == 0
    assert (job.ended, job.starts) == (0, 2)
    assert f"process {os.getpid()}" in notes[0]
    assert not (job.folder / "7_0.elsewhere").exists()


def test_the_worker_ends_with_its_task(job, worker):
    worker(f"{BEGIN}print('runs', flush=True)\nos.read(0, 1)\nopen('gone', 'w').close()")
    job.when_it_runs(lambda: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert (job.folder / "gone").exists()
