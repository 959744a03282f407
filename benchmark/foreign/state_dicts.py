"""Reads state dicts without unpickling anything but tensors and plain containers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys under which checkpoints hold their state dict
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile


def read_state_dict(content: bytes, *, safetensors: bool) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of a checkpoint that holds one, by their keys in the network.

    The usual wrappers are opened, and a prefix that all keys share because the network was wrapped is removed.

    Args:
        content: the whole file.
        safetensors: whether it is a safetensors file; else one of `torch.save`.

    Raises:
        UserError: if the file cannot be read, holds other objects than tensors and plain containers, or holds no state
            dict or several.
    """
    document = load_safetensors_file(content) if safetensors else load_plain(content)
    state: dict[str, Tensor] = {}
    for key, value in _unwrapped(document).items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"{key!r} of the state dict is a {kind}, not a tensor; save a state dict of tensors alone")
        state[key] = value
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_safetensors_file(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        UserError: if it is damaged.
    """
    try:
        return load_safetensors(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"the safetensors file is damaged ({cause_of(error)}); fetch it again") from None


def load_plain(content: bytes) -> object:
    """Return what `torch.save` wrote: tensors, numbers, texts and containers, on the CPU.

    Raises:
        UserError: if it holds anything else, which would have to be executed, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about old formats
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError for other objects, and any other for damaged files
        refused = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "it holds Python objects, which would run code" if refused else f"it is damaged: {cause_of(error)}"
        raise UserError(
            f"the checkpoint cannot be read as plain tensors ({reason}); save the network's state_dict() alone, with "
            "torch.save or as safetensors"
        ) from None


def _unwrapped(document: object) -> Mapping[object, object]:
    """Return the state dict in a checkpoint: the checkpoint itself, or what it holds under a usual key."""
    if not isinstance(document, Mapping):
        raise UserError(f"the checkpoint is a {type(document).__name__}, not a state dict; save network.state_dict()")
    if document and all(isinstance(value, Tensor) for value in document.values()):
        return document
    names = [name for name in WRAPPERS if isinstance(document.get(name), Mapping)]
    if len(names) > 1:
        raise UserError(
            f"the checkpoint holds several state dicts: {', '.join(names)}; save the one to measure in its own file"
        )
    if names:
        return _unwrapped(document[names[0]])
    if not document or not any(isinstance(value, Tensor) for value in document.values()):
        keys = ", ".join(map(repr, list(document)[:4])) or "nothing"
        raise UserError(
            f"the checkpoint holds {keys}, but no state dict, under none of {', '.join(WRAPPERS)}; save "
            "network.state_dict() in a file of its own"
        )
    return document
