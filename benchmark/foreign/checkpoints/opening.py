"""Opens a checkpoint without running anything in it, and finds the state dict and its wrappers."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.files.kinds import BEGINNING, is_safetensors
from benchmark.files.text import terminal_line

STATE_DICTS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the network
_PARALLEL = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint.

    Attributes:
        path: the file.
        state: parameters and buffers under the repository's key names, in the file's order, without wrappers.
        arch: the architecture's name in the repository, from the field `arch` beside the state dict.
    """

    path: Path
    state: dict[str, Tensor]
    arch: str | None


def open_checkpoint(path: Path, *, wrappers: tuple[str, ...] = ()) -> Checkpoint:
    """Read a checkpoint with `weights_only`, or a safetensors file.

    Args:
        path: the file.
        wrappers: prefixes that the repository's own wrappers add to every key, besides those of torch's.

    Raises:
        UserError: if there is no such file, it holds anything but tensors and plain values, or no state dict.
    """
    content = _load(path)
    state, arch = _find_state(content, path)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{path}: the state dict holds {terminal_line(str(key))} of type {type(value).__name__}, which is no "
                "tensor; save the network's state_dict() alone"
            )
    return Checkpoint(path, _unwrapped(state, (*_PARALLEL, *wrappers)), arch)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is not a file; give the path of a checkpoint")
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    if is_safetensors(beginning):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read as safetensors ({error}); fetch it again") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice about TorchScript and old types
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f"an object of {named[1]}" if named else "more than tensors and plain values"
        raise UserError(
            f"{path} is not opened, because it holds {held}, and unpickling that could run a program; load it where "
            "you trust it and save its state_dict() alone with torch.save"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, TypeError, AttributeError, IndexError) as error:
        reason = terminal_line(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint ({reason[:100]}); fetch it again") from None


def _find_state(content: Any, path: Path) -> tuple[Mapping[str, Any], str | None]:
    """Return the state dict and the name beside it."""
    if isinstance(content, Mapping) and content and all(isinstance(key, str) for key in content):
        places = [name for name in STATE_DICTS if isinstance(content.get(name), Mapping)]
        if len(places) > 1:
            raise UserError(
                f"{path} holds several state dicts ({', '.join(places)}); save the one that was evaluated alone"
            )
        if places:
            arch = content.get("arch")
            return content[places[0]], arch if isinstance(arch, str) else None
        if any(isinstance(value, Tensor) for value in content.values()):
            return content, None
    raise UserError(
        f"{path} holds no state dict, neither alone nor as {', '.join(STATE_DICTS)}; save the network's state_dict()"
    )


def _unwrapped(state: Mapping[str, Any], wrappers: tuple[str, ...]) -> dict[str, Tensor]:
    """Remove prefixes that every key has."""
    plain = dict(state)
    while True:
        prefix = next((prefix for prefix in wrappers if all(key.startswith(prefix) for key in plain)), None)
        if prefix is None or not plain:
            return plain
        plain = {key.removeprefix(prefix): value for key, value in plain.items()}
