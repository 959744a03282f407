"""Peak memory of a network in one runtime: that of a fresh process, which pays for the runtime's libraries, too."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.results.speed import MemoryPart, Runtime
from benchmark.runtime.interpreters import module_command, module_environment

SECONDS = 600  # after which such a process hangs; the first one may have to compile the sparse kernels


def can_weigh() -> bool:
    """Return whether this system says how much memory a process has used; Linux does."""
    return Path("/proc/self/status").exists()


def process_memory(runtime: Runtime, path: Path, shape: Sequence[int]) -> MemoryPart:
    """Return what a process takes that computes a network with one thread.

    Args:
        runtime: in which it computes.
        path: of the artifact, for ONNX Runtime of the exported file.
        shape: channels, height and width of the images.

    Raises:
        UserError: if the process fails.
    """
    words = [*module_command("benchmark.review.one_process"), runtime, str(path), *map(str, shape)]
    variables = {**module_environment(), "OMP_NUM_THREADS": "1"}
    try:
        ran = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=SECONDS, check=True)
        return MemoryPart(**json.loads(ran.stdout))
    except (subprocess.SubprocessError, ValueError) as error:
        output = getattr(error, "stderr", None) or str(error)
        last = (str(output).strip().splitlines() or [""])[-1]
        raise UserError(f"a process that computes {path.name} in {runtime} failed ({last}); run it again") from None
