"""Several processes that train one network together, each on a GPU of its own, started by torchrun.

A worker whose order asks for them starts torchrun on itself, so that every engine starts one process for one job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from benchmark.launch.exit_codes import DONE, FAILED, STOPPED
from benchmark.runtime.interpreters import module_command, module_environment
from benchmark.runtime.stopping import Stopped

# After a process was lost, all begin again at the last checkpoint. More than once, because they may fail to find each
# other on a busy machine; a failure of the job's own repeats as often.
RESTARTS = 3
PATIENCE = 60.0  # seconds for the current update and the checkpoint, which torchrun's own 30 s may be too short for
_EXIT_CODE = "BENCHMARK_EXIT_CODE_FILE"  # environment variable; torchrun's own exit code says only that one failed


def in_group() -> int | None:
    """Return the number, from 0, of this process among those that torchrun started; None outside of it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def note_exit_code(code: int) -> int:
    """Leave the first process's exit code for the worker that started the group, and return this process's.

    A process that stopped on request has not failed: torchrun would end the others while they stop, or start all anew.
    """
    group = in_group()
    if group == 0 and _EXIT_CODE in os.environ:
        Path(os.environ[_EXIT_CODE]).write_text(str(code), encoding="ascii")
    return DONE if group is not None and code == STOPPED else code


def run_group(order_path: Path, part: str, processes: int) -> int:
    """Run a job by `processes` processes on this machine and return the first one's exit code.

    Raises:
        Stopped: if that was requested, once they have stopped, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        command = [
            *module_command("torch.distributed.run"),
            *("--standalone", f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}"),
            *("--module", "benchmark.launch.worker"),
            *(str(order_path), "--part", part, "--with-parent"),
        ]
        # torchrun starts its processes without -P; they end when the pipe closes, hence with this process.
        environment = {**module_environment(), "PYTHONSAFEPATH": "1", _EXIT_CODE: str(path)}
        # Schedulers signal every process of a job. torchrun would die of signals that its processes answer themselves.
        answered = (signal.SIGUSR1, signal.SIGUSR2)
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in answered}
        try:
            group = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        try:
            ended = group.wait()
        except Stopped:
            _stop(group)
            raise
        finally:
            assert group.stdin is not None
            group.stdin.close()
            group.wait()
        return int(path.read_text(encoding="ascii")) if path.exists() else ended or FAILED


def _stop(group: subprocess.Popen[bytes]) -> None:
    """Request a stop of one process, whichever reads it first; it is met by all together, after the current update."""
    assert group.stdin is not None
    with suppress(BrokenPipeError):
        group.stdin.write(b"\n")
        group.stdin.flush()
    try:
        group.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        group.send_signal(signal.SIGTERM)  # which torchrun passes on, and waits
        group.wait()
