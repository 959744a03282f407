"""Prints one command for each job instead of running it, for Kubernetes, GNU parallel or whatever starts processes.

Standard output has nothing but commands, one a line, in an order in which each comes after those that it needs. They
need no order, though, see `benchmark.launch.alone`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Self

from benchmark.errors import UserError
from benchmark.launch.config import LauncherConfig
from benchmark.launch.engine import LaunchContext, Outcome, Say
from benchmark.launch.job import Job
from benchmark.launch.time_limit import TimeLimit
from benchmark.launch.worker_command import variables_of_the_user
from benchmark.runtime.interpreters import module_command


def make(config: LauncherConfig, context: LaunchContext) -> CommandsEngine:
    """Return the engine."""
    return CommandsEngine()


class CommandsEngine:
    """Saves the orders and prints the commands; nothing runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, jobs: Sequence[Job], *, limit: TimeLimit, say: Say) -> Outcome:
        """Print a command for each job; with a time limit, that of each job from its own beginning.

        Args:
            jobs: each after those that it needs.
            limit: jobs that take longer are left out.
            say: receives notes, which must not be written to standard output.

        Raises:
            UserError: if an order cannot be written, or a path in a command contains a line break.
        """
        seconds = limit.left()
        lines, left_out = [], set[str]()
        for job in jobs:
            objection = limit.objection(job)
            if objection is None and not left_out.isdisjoint(job.needs):
                objection = "it needs a job that is left out"
            if objection is None:
                lines.append(command_line(job, seconds))
            else:
                left_out.add(job.name)
                say(f"left   {job.name}: {objection}")
        for order in {job.run: job.order for job in jobs}.values():
            order.issue()
        for line in lines:
            print(line)
        if lines:
            say(f"{len(lines)} commands; when they have ended, run this command again, which then writes the boards")
        return Outcome(left=tuple(dict.fromkeys(job.run for job in jobs)))


def command_line(job: Job, seconds: float | None) -> str:
    """Return a shell's command that runs a job in any folder.

    It names this interpreter, this folder and the order by absolute paths; the host that runs it must have them, too.

    Args:
        job: what to run; its order will be on disk.
        seconds: after which the job leaves its work, from its beginning; None for no limit.

    Raises:
        UserError: if a path contains a line break.
    """
    words = [*module_command("benchmark.launch.alone"), *job.command_words]
    words += [] if seconds is None else ["--seconds-left", f"{seconds:.0f}"]
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables_of_the_user().items())
    line = f"cd {shlex.quote(os.getcwd())} && {variables} {shlex.join(words)}"
    if len(line.splitlines()) > 1:
        raise UserError(
            f"--launcher commands prints one line for each job, but a path has a line break: {line!r}; choose another "
            "--out, or start in another folder"
        )
    return line
