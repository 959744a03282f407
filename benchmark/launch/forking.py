"""Starts workers without their start-up time: one process imports what all of them need, and forks for every order.

    python -m benchmark.launch.forking FD

It imports torch once, which takes longer than everything else a small experiment does before its first epoch. The
forked workers are processes of their own: a crash or a kill of one touches no other. The process that asks for them
talks to this one through the Unix socket FD and to every worker through its own three pipes:

- a byte on standard input is a request to stop; when it closes, the parent has ended;
- standard output and error are the worker's lines;
- the status pipe receives the exit code, from here, when the worker has ended.

Only CPU runs on Linux are forked. Elsewhere the worker is a new interpreter: a CUDA driver does not survive a fork, nor
do some libraries of macOS, and a run on a GPU is long enough to import torch for itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, NoReturn

from benchmark.errors import UserError
from benchmark.launch.job import Job
from benchmark.runtime.interpreters import module_command, module_environment
from benchmark.runtime.stopping import SIGNALS

MAX_MESSAGE = 65536  # bytes; a message holds a path and a few words
OF_SERVERS = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}  # environment variables


@dataclass
class Worker:
    """The parent's ends of a worker's pipes."""

    alive: int  # file descriptor; closing it ends the worker
    output: IO[str]
    status: IO[str]  # the exit code in digits once the worker has ended; nothing if the fork server died before it

    def request_stop(self) -> None:
        """Let the worker leave its job where it can be resumed."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            os.write(self.alive, b".")

    def stop(self) -> None:
        """End the worker, wherever it is."""
        os.close(self.alive)

    def exit_code(self) -> int | None:
        """Wait for the end and return the exit code, minus the signal for a killed worker; None if it is unknown."""
        with self.status:
            text = self.status.read()
        return int(text) if text else None


class ForkServer:
    """The parent's side; use as a context. Workers continue after it, until their pipes are closed.

    Args:
        device: where the workers compute.
    """

    def __init__(self, device: Literal["cpu", "cuda"]) -> None:
        self.forks = device == "cpu" and sys.platform == "linux"
        self._channel, theirs = socket.socketpair()
        environment = {**module_environment(), **OF_SERVERS}
        command = [*module_command("benchmark.launch.forking"), str(theirs.fileno()), *["--fork"] * self.forks]
        # Ctrl-C is for this process alone, which ends the others: they inherit that it is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()  # which ends the process
        self._process.wait()

    def start(self, job: Job, *, gpus: Sequence[str] | None = None) -> Worker:
        """Write the job's order into its folder and start a worker on it.

        Args:
            job: what it does.
            gpus: those it may use, as in CUDA_VISIBLE_DEVICES; None for all that this process may.

        Raises:
            UserError: if the server has ended, or the order cannot be written.
        """
        environment = {"OMP_NUM_THREADS": str(job.order.issue().threads)}
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        message = {"arguments": [*job.command_words, "--with-parent"], "environment": environment}
        (their_input, alive), (output, their_output), (status, their_status) = (os.pipe() for _ in range(3))
        theirs, ours = [their_input, their_output, their_status], [alive, output, status]
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], theirs)
            if not self._channel.recv(1):  # waits, as two messages in flight could be read as one
                raise BrokenPipeError
        except OSError as error:
            for descriptor in ours:
                os.close(descriptor)
            raise UserError(
                "the process that starts the workers was killed, by a user or because memory ran out; run the same "
                "command again, which resumes from what is on the disk"
            ) from error
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return Worker(alive, os.fdopen(output, encoding="utf-8", errors="replace"), os.fdopen(status, encoding="ascii"))


def serve(channel: socket.socket, *, fork: bool) -> None:
    """Start a worker for every message until the channel closes; without `fork` a new interpreter each."""
    for number in SIGNALS:  # are for the parent, which stops the workers
        signal.signal(number, signal.SIG_IGN)
    if fork:
        _import_what_workers_need()
    running: dict[int, int] = {}  # process id to status pipe

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError, BrokenPipeError):  # no worker is left, or no parent
            while running:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return
                pipe = running.pop(process)
                with os.fdopen(pipe, "w", encoding="ascii") as file:
                    file.write(str(os.waitstatus_to_exitcode(status)))

    signal.signal(signal.SIGCHLD, reap)
    while message := _received(channel):
        order, descriptors = message
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until its process id is in `running`
        process = os.fork()
        if not process:
            channel.close()
            for pipe in running.values():  # or the parent, reading another worker's status, would wait for this one
                os.close(pipe)
            _become_worker(json.loads(order), descriptors, fork=fork)
        *others, running[process] = descriptors
        for descriptor in others:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        with contextlib.suppress(BrokenPipeError):  # the parent has ended, and the next read returns
            channel.send(b".")


def _received(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """Wait for a message and the worker's ends of its pipes; None once the parent has ended, however it ended."""
    try:
        message, descriptors, *_ = socket.recv_fds(channel, MAX_MESSAGE, 3)
    except ConnectionResetError:
        return None
    return (message, descriptors) if message else None


def _import_what_workers_need() -> None:
    import torch

    importlib.import_module("benchmark.launch.worker")
    # The first optimiser of a process imports torch's compiler, which nothing here uses; this is that first one.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    gc.freeze()  # the collector would otherwise write to, and so copy, every page that the workers share


def _become_worker(request: dict[str, Any], descriptors: list[int], *, fork: bool) -> NoReturn:
    """Run one order in this freshly forked process, which ends with it."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        given, output, status = descriptors
        for target, descriptor in enumerate((given, output, output)):
            os.dup2(descriptor, target)
        for descriptor in (given, output, status):
            os.close(descriptor)
        if fork:
            from benchmark.launch import worker

            code = worker.start(request["arguments"])
        else:
            command = [*module_command("benchmark.launch.worker"), *request["arguments"]]
            os.execve(sys.executable, command, {**module_environment(), **request["environment"]})
    except BaseException:  # nothing may run the fork server's own code from here
        traceback.print_exc()
    finally:
        os._exit(code)  # without the exit handlers of the fork server


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), fork="--fork" in sys.argv)
