"""Reads an ONNX file together with the files beside it that hold its weights, as torch's exporter writes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.foreign.onnx_network import needed, tensors_of

MAX_BYTES = 2**31 - 1  # what one file of the format can hold


def self_contained(content: bytes, path: Path) -> tuple[bytes, str, int]:
    """Return an ONNX file with all its weights inside, and the SHA-256 and size of what was read.

    The hash is that of the file, followed by the hashes of those beside it in the order of their names.
    Weights are read from plain files in the same folder only, never through links.

    Args:
        content: the file at `path`.
        path: of the file.

    Raises:
        UserError: if the file cannot be parsed, or a file with its weights is missing or elsewhere.
    """
    package = needed("onnx")
    try:
        proto = package.ModelProto.FromString(content)
    except Exception:  # of the installed protobuf, whose classes differ between versions
        raise UserError("the ONNX file is damaged: it cannot be parsed; fetch or export it again") from None
    digest = hashlib.sha256(content)
    tensors = [tensor for tensor in tensors_of(proto) if tensor.data_location == package.TensorProto.EXTERNAL]
    if not tensors:
        return content, digest.hexdigest(), len(content)
    folder, files = path.parent, dict[str, bytes]()
    for tensor in tensors:
        fields = {entry.key: entry.value for entry in tensor.external_data}
        name = fields.get("location", "")
        if name not in files:
            files[name] = _beside(name, folder)
        tensor.raw_data = _part(files[name], fields, tensor.name)
        tensor.ClearField("external_data")
        tensor.data_location = package.TensorProto.DEFAULT
    size = len(content) + sum(map(len, files.values()))
    if size > MAX_BYTES:
        raise UserError(f"the ONNX file and its weights have {size:,} bytes; at most {MAX_BYTES:,} can be read")
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
    return proto.SerializeToString(), digest.hexdigest(), size


def _beside(name: str, folder: Path) -> bytes:
    if not name or Path(name).name != name:
        raise UserError(
            f"the ONNX file has its weights in {name!r}, but they are read from its own folder only; put both files "
            "into one folder and export again"
        )
    content = read_below(folder / name, folder, MAX_BYTES)
    if content is None:
        raise UserError(
            f"the ONNX file has its weights in {name}, which is not beside it; put it there, or export with "
            "external_data=False"
        )
    return content


def _part(content: bytes, fields: dict[str, str], name: str) -> bytes:
    try:
        start = int(fields.get("offset", "0"))
        length = int(fields.get("length", str(len(content) - start)))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > len(content):
        raise UserError(f"the weights of {name} lie outside of the file that the ONNX file names; export it again")
    return content[start : start + length]
