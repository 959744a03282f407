"""Dotted overrides of a suite's raw YAML, applied before validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from benchmark.errors import UserError
from benchmark.files.yaml_file import SettingsLoader


def apply_override(document: dict[str, Any], text: str) -> None:
    """Set one dotted key of a suite's raw document; numbers index lists.

    An override of `training` or `architecture` also removes the settings of single methods there, so that it applies
    to all methods.

    Args:
        document: the parsed YAML, changed in place.
        text: key.subkey=value, the value in YAML.

    Raises:
        UserError: if the text has another form or its key cannot be set.
    """
    key, separator, value = text.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise UserError(f"--set takes key.subkey=value, got {text!r}; for example --set training.epochs=5")
    try:
        parsed = yaml.load(value, SettingsLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError):
        raise UserError(f"--set {key}: {value!r} is not a YAML value") from None
    node: Any = document
    for step in path[:-1]:
        node = _descend(node, step, text)
    if isinstance(node, list):
        node[_position(node, path[-1], text)] = parsed
    else:
        node[path[-1]] = parsed
    if path[0] in ("training", "architecture"):
        entries = document.get("methods")
        for entry in entries if isinstance(entries, list) else []:
            _remove(entry, path)


def _descend(node: Any, step: str, text: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, step, text)]
    child = node.setdefault(step, {})
    if child is None:
        child = node[step] = {}
    if not isinstance(child, dict | list):
        raise UserError(f"--set {text}: {step!r} is a single value and has no subkeys")
    return child


def _position(node: list[Any], step: str, text: str) -> int:
    if not step.isdecimal() or int(step) >= len(node):
        raise UserError(f"--set {text}: {step!r} must be a position from 0 to {len(node) - 1}")
    return int(step)


def _remove(entry: Any, path: Sequence[str]) -> None:
    """Remove an entry's own value of a setting that the command line overrides."""
    for step in path[:-1]:
        entry = entry.get(step) if isinstance(entry, dict) else None
    if isinstance(entry, dict):
        entry.pop(path[-1], None)
