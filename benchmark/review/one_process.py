"""A process that reads one network, computes it in one runtime, and prints what memory that took; see `memory`.

Imported late: torch only for the runtimes that need it, so that ONNX Runtime's process is one without it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PASSES = 2  # with each batch


def main(runtime: str, path: str, *shape: str) -> None:
    """Print bytes as JSON: `libraries`, resident before the network is read, and `peak`.

    Args:
        runtime: "torch", "onnxruntime" or "sparse".
        path: of the artifact, for ONNX Runtime of the exported file.
        shape: channels, height and width of the images.
    """
    import numpy

    ready = _onnxruntime if runtime == "onnxruntime" else _torch
    load = ready(runtime)
    libraries = memory("VmRSS")
    compute = load(path)
    for images in (1, 64):
        for _ in range(PASSES):
            compute(numpy.zeros((images, *map(int, shape)), numpy.float32))
    print(json.dumps({"libraries": libraries, "peak": memory("VmHWM")}))


def memory(name: str) -> int:
    """Return a number of this process in bytes: "VmRSS", resident now, or "VmHWM", at most so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(kilobytes)


def _onnxruntime(runtime: str) -> Callable[[str], Callable[[Any], object]]:
    import onnxruntime

    def load(path: str) -> Callable[[Any], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (name,) = (each.name for each in session.get_inputs())
        return lambda images: session.run(None, {name: images})

    return load


def _torch(runtime: str) -> Callable[[str], Callable[[Any], object]]:
    import torch

    from benchmark.artifact.unpack import read_artifact
    from benchmark.evaluation.accuracy import prepare
    from benchmark.evaluation.fast import fold, sparse_form
    from methods.sparse.support import kernels

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if runtime == "sparse":
        kernels()

    def load(path: str) -> Callable[[Any], object]:
        network = read_artifact(Path(path)).network.eval()
        form = sparse_form(network) if runtime == "sparse" else fold(prepare(network, "cpu"))
        assert form is not None, "artifacts hold residual networks of this project"
        layout = torch.channels_last
        return lambda images: form(torch.from_numpy(images).contiguous(memory_format=layout))

    return load


if __name__ == "__main__":
    main(*sys.argv[1:])
