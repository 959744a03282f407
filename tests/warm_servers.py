"""Fork servers for tests, of which only the first takes the time to import torch.

    python -m tests.warm_servers FD

A clean process imports what workers need, once, and forks a server for every folder and environment that it gets
through the Unix socket FD. Servers and workers are otherwise those of `benchmark.launch.forking`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

from benchmark.launch import forking
from benchmark.runtime.interpreters import module_command, module_environment


class WarmForkServer(forking.ForkServer):
    """A fork server in this process's folder and environment, forked from a process that has imported torch."""

    def __init__(self, start: WarmStart) -> None:
        self.forks = True
        self._channel, theirs = socket.socketpair()
        with theirs:
            start.fork(theirs)

    def __exit__(self, *_: object) -> None:
        self._channel.shutdown(socket.SHUT_WR)
        self._channel.recv(1)  # returns at the server's end
        self._channel.close()


class WarmStart:
    """The process that has imported torch; it ends with this one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*module_command("tests.warm_servers"), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**module_environment(), **forking.OF_SERVERS},
            )

    def fork(self, theirs: socket.socket) -> None:
        """Start a server that serves a socket."""
        socket.send_fds(self._channel, [b"."], [theirs.fileno()])
        self._channel.sendall(f"{json.dumps([os.getcwd(), dict(os.environ)])}\n".encode())
        self._channel.recv(1)  # once the server has its copy of the socket

    def close(self) -> None:
        """End the process; its servers are not touched."""
        self._channel.close()
        self._process.wait()


def main(channel: socket.socket) -> None:
    """Fork a server for every message until the channel closes."""
    forking._import_what_workers_need()
    given = os.environ["PYTHONPATH"].split(os.pathsep)
    of_python = [path for path in sys.path if path not in given]
    messages = channel.makefile("rb", buffering=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no server is waited for
    while (received := socket.recv_fds(channel, 1, 1))[0]:
        (theirs,), message = received[1], messages.readline()
        if not os.fork():
            messages.close()
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            folder, environment = json.loads(message)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            os.environ.update({**module_environment(), **forking.OF_SERVERS})
            sys.path[:] = [*os.environ["PYTHONPATH"].split(os.pathsep), *of_python]
            forking.serve(socket.socket(fileno=theirs), fork=True)
            os._exit(0)
        os.close(theirs)
        channel.send(b".")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
