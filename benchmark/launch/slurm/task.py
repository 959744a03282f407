"""What a SLURM job runs: the worker of one job, in a process of its own, and what becomes of it when it has ended.

submitit stores a `Task` as a pickle and calls it in the job. SLURM signals the job before its time ends, or when
another one takes its place. The worker then saves its state and leaves, and the task puts the job into the queue again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission, UncompletedJobError

from benchmark.files.plain import no_link
from benchmark.launch.exit_codes import DONE, ELSEWHERE, FAILED, STOPPED
from benchmark.launch.lease import BEATS, Watch
from benchmark.launch.slurm.commands import state_of
from benchmark.launch.worker_command import worker_arguments, worker_variables
from benchmark.results.store import write_atomic
from benchmark.runtime.stopping import SIGNALS


@dataclass
class Task:
    """One job, as it is stored for SLURM.

    Attributes:
        words: arguments of `benchmark.launch.worker`.
        leases: that its process needs, see `benchmark.launch.lease`.
        lease_seconds: after which a silent holder counts as dead.
        threads: of torch, for OpenMP.
        log: where the worker's lines are added.
        folder: where the exit code is written.
        token: of the submission, written with the exit code.
    """

    words: list[str]
    leases: list[Path]
    lease_seconds: float
    threads: int
    log: Path
    folder: Path
    token: str
    _process: int | None = field(default=None, repr=False)  # id of the worker that runs
    _code: int = field(default=STOPPED, repr=False)  # exit code of the worker that ran last

    def __call__(self) -> None:
        """Run the worker to its end; the process ends with its exit code unless that is 0."""
        number = JobEnvironment().job_id
        (self.folder / f"{number}.elsewhere").unlink(missing_ok=True)  # of a part of this job that was killed
        try:
            self._work(number)
            # A job that is being cancelled completes, and must not come back.
            if self._code == STOPPED and state_of(number) == "RUNNING":
                signal.raise_signal(
                    _signal()
                )  # submitit calls `checkpoint`, queues the job again and ends this process
        except UncompletedJobError as error:  # submitit does not queue it again: too many timeouts, or it is done
            print(error, flush=True)
        code = self._code
        if code < 0:
            print(f"the worker was ended by {signal.Signals(-code).name}", flush=True)
            code = FAILED
        write_atomic(self.folder / f"{number}.ended", f"{code} {self.token}\n")
        if code != DONE:
            sys.exit(code)  # or jobs that need this one would start

    def checkpoint(self) -> DelayedSubmission | None:
        """Let the worker save its state, and return what continues it; None if it has ended otherwise."""
        if self._process is not None:
            os.kill(self._process, signal.SIGTERM)
            self._wait(self._process)
        if self._code != STOPPED:
            return None
        return DelayedSubmission(replace(self, _process=None, _code=STOPPED))

    def _work(self, number: str) -> None:
        """Run the worker until nobody else works on the job; once more if it was killed, as when memory ran short."""
        may_be_killed = True
        while True:
            self._run()
            if self._code == ELSEWHERE:
                self._code = STOPPED  # should a signal come now
                self._wait_for_holder(number)
            elif self._code == -signal.SIGKILL and may_be_killed:
                may_be_killed = False
                print("the worker was killed; it is started once more", flush=True)
            else:
                break

    def _wait_for_holder(self, number: str) -> None:
        """Wait until the process that works on the job has ended or counts as dead; note which it is."""
        note = self.folder / f"{number}.elsewhere"
        for watch in [Watch(path, self.lease_seconds) for path in self.leases]:
            while (holder := watch.holder()) is not None:
                if not note.exists():
                    write_atomic(note, f"{holder}\n")
                time.sleep(self.lease_seconds / BEATS)
        note.unlink(missing_ok=True)

    def _run(self) -> None:
        """Run the worker and note its exit code, minus the signal if one ended it."""
        self._code = STOPPED  # should a signal come before there is a process
        # The worker ends with this process: its standard input closes then.
        with (
            self._open_log() as log,
            subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._variables()
            ) as process,
        ):
            self._process = process.pid
            self._wait(process.pid)

    def _wait(self, process: int) -> None:
        """Wait without a lock: submitit's handler of signals may interrupt this and wait for the same process."""
        end = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert end is not None  # only without waiting
        # SLURM signals all processes of a job, the worker perhaps while it starts or ends, when it does not listen.
        asked_to_stop = end.si_code != os.CLD_EXITED and end.si_status in SIGNALS
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        self._code, self._process = STOPPED if asked_to_stop else code, None

    def _command(self) -> list[str]:
        return [sys.executable, *worker_arguments(self.words)]

    def _variables(self) -> dict[str, str]:
        return {**os.environ, **worker_variables(self.threads)}

    def _open_log(self) -> IO[str]:
        try:
            return open(self.log, "a", encoding="utf-8", opener=no_link)
        except OSError as error:
            print(f"{self.log} cannot be written ({error.strerror}); its lines follow here", flush=True)
            return open(os.dup(1), "w", encoding="utf-8")


def _signal() -> signal.Signals:
    """Return the signal on which submitit queues a job again."""
    return signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
