"""The methods that are compared, one per file. Importing this package does not import torch.

A method is named by a key of `BUILT_IN`, an entry point of another package, or `path/to/file.py:Class`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.base import Method

ENTRY_POINT_GROUP = "robust_compression.methods"

BUILT_IN = {
    "at": "methods.at:AT",
    "atmc": "methods.atmc:Atmc",
    "edge_popup": "methods.edge_popup:EdgePopup",
    "hydra": "methods.hydra:Hydra",
    "lwm": "methods.prune_finetune:MagnitudePruning",
    "random_pruning": "methods.prune_finetune:RandomPruning",
    "rst": "methods.rst:RST",
    "small_dense": "methods.small_dense:SmallDense",
}


def method_targets() -> dict[str, str]:
    """Return "module:Class" of every registered method by name: built-in methods, then entry points.

    Raises:
        ValueError: if two packages register the same name.
    """
    targets = dict(BUILT_IN)
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value)):
        if targets.setdefault(point.name, point.value) != point.value:
            raise ValueError(f"two methods are called {point.name!r}: {targets[point.name]} and {point.value}")
    return targets


def is_file_target(method: str) -> bool:
    """Return whether `method` is path/to/file.py:Class rather than a registered name or module:Class."""
    return method.rpartition(":")[0].endswith(".py")


def load_method_class(target: str) -> type[Method]:
    """Import "module:Class" or "path/to/file.py:Class".

    Raises:
        ValueError: if there is no such module, file or class, or the class is not a `Method`.
    """
    from methods.base import Method

    module_name, _, class_name = target.rpartition(":")
    if not module_name or not class_name:
        raise ValueError(f"{target!r} is not of the form module:Class or path/to/file.py:Class")
    module = _load_file(Path(module_name)) if is_file_target(target) else _import(module_name)
    cls = getattr(module, class_name, None)
    if cls is None:
        raise ValueError(f"{module_name} has no class {class_name!r}")
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ValueError(f"{target} is not a subclass of methods.base.Method")
    return cls


def source_file(target: str) -> Path | None:
    """Return the source file of a target without importing it; None if it has none."""
    module_name = target.rpartition(":")[0]
    if is_file_target(target):
        return Path(module_name)
    try:
        spec = importlib.util.find_spec(module_name)
    except Exception:  # finding a submodule imports its parent package, which may raise anything
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def summary(target: str) -> str:
    """Return the first docstring line of a method class, read from its source without importing it."""
    path, class_name = source_file(target), target.rpartition(":")[2]
    if path is None or not path.is_file():
        return ""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ""  # `resolve` reports the problem when the method is used
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _import(module_name: str) -> object:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {module_name!r}: {error}") from error


def _load_file(path: Path) -> object:
    """Import a Python file as a module with its own name, as dataclasses and pickle look modules up by name."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    name = f"user_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
