"""Compares the network read from an ONNX file with what ONNX Runtime computes: a misread file is another network."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.foreign.file_network import FileNetwork, padded
from benchmark.foreign.onnx_network import needed

TOLERANCE = 1e-3  # of the largest logit, or of 1 if that is larger: both round float32 in their own order


def check_against_runtime(network: FileNetwork, content: bytes, images: Tensor) -> str | None:
    """Compare a network's logits with those of ONNX Runtime on its file.

    Args:
        network: the network, in eval mode.
        content: the file that it was read from, with its weights.
        images: float32, with the axes that the file declares.

    Returns:
        A sentence if ONNX Runtime does not run the file, so that nothing was compared.

    Raises:
        UserError: if the logits differ.
    """
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its own log would appear beside the sentence returned here
    count = network.input_shape[0]
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        parts = images.split(count or len(images))
        runs = [session.run(None, {name: padded(part, count or len(part)).numpy()})[0] for part in parts]
        given = torch.cat([torch.from_numpy(run)[: len(part)] for run, part in zip(runs, parts, strict=True)])
    except Exception as error:  # its exceptions derive from Exception alone
        return f"ONNX Runtime cannot run the file, so nothing was compared with it ({str(error).splitlines()[0]})"
    with torch.no_grad():
        logits = network(images)
    if logits.shape != given.shape:
        raise UserError(
            f"onnx2torch misreads the ONNX file: its logits have shape {tuple(logits.shape)}, ONNX Runtime's "
            f"{tuple(given.shape)}; save the network as TorchScript or by torch.export"
        )
    difference = float((logits - given).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(given.abs().max())):  # also true for NaN
        raise UserError(
            f"onnx2torch misreads the ONNX file: its logits differ from ONNX Runtime's by {difference:.2g}; save the "
            "network as TorchScript or by torch.export"
        )
    return None
