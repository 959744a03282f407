"""Finds the source files of a user's method: the file of its class and the user's own modules that it imports.

Their hash identifies the method: after an edit to a helper module, its runs count as not done.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Never part of a method's identity, even if installed from a source tree.
_SHARED = frozenset({"benchmark", "methods", "numpy", "torch", "torchvision"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


def source_sha256(file: Path, module: str) -> str:
    """Return the SHA-256 that identifies a method's source.

    This is the hash of the file alone if it imports no modules of the user's own, else a hash of the file and these
    modules, including those that they import. A module is the user's own unless it belongs to Python, to this project
    or to an installed package other than the method's.

    Args:
        file: file that defines the method's class.
        module: dotted name that `file` was imported under.

    Raises:
        OSError: if a file cannot be read.
    """
    own = hashlib.sha256(file.read_bytes()).hexdigest()
    helpers = _own_modules(file, module)
    if not helpers:
        return own
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in helpers.items()}
    return hashlib.sha256(json.dumps([own, digests], sort_keys=True).encode()).hexdigest()


def _own_modules(file: Path, module: str) -> dict[str, Path]:
    """Return the user's modules that a file imports, directly or indirectly, by dotted name."""
    package = module.partition(".")[0]
    modules: dict[str, Path] = {}
    queue = [(file, module)]
    while queue:
        path, importer = queue.pop()
        for name in _imported(path, importer):
            if name in modules or name == module or name.partition(".")[0] in _SHARED:
                continue
            origin = _origin(name)
            if origin is None or origin == file.resolve() or not _is_own(origin, name, package):
                continue
            modules[name] = origin
            queue.append((origin, name))
    return modules


def _imported(path: Path, importer: str) -> Iterator[str]:
    """Yield the modules that a source file may import anywhere; `from a import b` yields a and a.b.

    Calls of `importlib.import_module` and `__import__` count if the name is a literal.
    """
    if path.suffix != ".py":  # a compiled module is hashed, but its imports are unknown
        return
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                yield from _with_parents(str(name.value))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: end + 1]) for end in range(len(parts)))


def _origin(name: str) -> Path | None:
    """Return the file of a module; None if it has none or does not exist."""
    try:
        module = sys.modules.get(name)
        spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    except Exception:  # finding a submodule imports its parent, which may raise anything
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return Path(spec.origin).resolve()


def _is_own(origin: Path, name: str, package: str) -> bool:
    if _INSTALLED & set(origin.parts):
        return name.partition(".")[0] == package
    return not any(origin.is_relative_to(library) for library in _STANDARD_LIBRARY)
