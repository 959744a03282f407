"""Builds the network of a state dict: a named architecture, or what a function of the user's returns."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.evaluation.measurable import cause_of
from benchmark.foreign.architectures import NAMES, build, load_strictly
from benchmark.suite.method_source import source_sha256
from methods import is_file_target


def network_of_state(
    state: Mapping[str, Tensor], arch: str, *, num_classes: int, channels: int
) -> tuple[nn.Module, str | None]:
    """Return the network of a state dict, and the SHA-256 of the factory's source if it is not a named architecture.

    Args:
        state: all tensors of the network by key.
        arch: one of the architectures' names, "package.module:factory" or "path/to/file.py:factory". The factory is
            called with `num_classes` if it has a parameter of that name, else without arguments, and returns a module.
        num_classes: number of logits.
        channels: of the images.

    Raises:
        UserError: if there is no such architecture or factory, if it fails, or if the state dict does not fit exactly.
    """
    if ":" not in arch:
        network, digest = build(arch, num_classes, channels=channels, state=state), None
    else:
        factory, digest = _factory(arch)
        network = _built(factory, arch, num_classes)
    load_strictly(network, state, name=arch)
    return network.requires_grad_(False).eval(), digest


def known_architectures() -> str:
    """Return what `arch` may be, for messages."""
    return f"{', '.join(NAMES)}, or a function that builds the network: package.module:factory, path/to/file.py:factory"


def _factory(arch: str) -> tuple[Callable[..., Any], str]:
    """Import a factory, which runs its file; return it and the hash of its source."""
    place, _, name = arch.rpartition(":")
    try:
        module = _load_file(Path(place).expanduser().resolve()) if is_file_target(arch) else _load_module(place)
    except UserError:
        raise
    except Exception as error:  # the user's own code
        raise UserError(f"--arch {arch}: importing {place} failed ({cause_of(error)}); correct it") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise UserError(f"--arch {arch}: {place} has no function {name!r}; name one that returns the network")
    assert module.__file__ is not None, "both loaders require a file"
    return factory, source_sha256(Path(module.__file__), module.__name__)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"--arch: there is no file {path}")
    name = f"user_architecture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--arch {name!r} is not the name of a module; give {known_architectures()}")
    module = importlib.import_module(name)
    if module.__file__ is None:
        raise UserError(f"--arch: {name} is a folder without a file; name the module that holds the factory")
    return module


def _built(factory: Callable[..., Any], arch: str, num_classes: int) -> nn.Module:
    try:
        takes_classes = "num_classes" in inspect.signature(factory).parameters
        network = factory(num_classes=num_classes) if takes_classes else factory()
    except Exception as error:  # the user's own code
        raise UserError(
            f"--arch {arch}: the factory failed ({cause_of(error)}); it is called with num_classes, if it has such a "
            "parameter, and nothing else"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"--arch {arch}: the factory returned a {type(network).__name__}; return the network")
    return network
