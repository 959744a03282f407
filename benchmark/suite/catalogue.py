"""The content of `list`. Imports no torch, as `list` must answer instantly."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError
from benchmark.files.places import CONFIGS, LEADERBOARDS
from benchmark.networks.shapes import SHAPES
from benchmark.suite.presets import PRESETS
from methods import method_targets, summary


def registered_methods() -> dict[str, str]:
    """Return the targets of all registered methods by name.

    Raises:
        UserError: if two installed packages register the same name.
    """
    try:
        return method_targets()
    except ValueError as error:
        raise UserError(f"{error}; uninstall one of the two packages") from None


def catalogue() -> dict[str, list[tuple[str, str]]]:
    """Return lists of (name, one-line description) by title."""
    return {
        "Methods": [(name, summary(target) or target) for name, target in sorted(registered_methods().items())],
        "Data sets": [
            (dataset.name, f"{dataset.title}, {dataset.num_classes} classes, epsilon {dataset.epsilon}")
            for dataset in DATASETS.values()
        ]
        + [("any other name", "parquet files or image folders in --data-dir")],
        "Architectures": [(name, shape.about) for name, shape in SHAPES.items()],
        "Presets": [(name, preset.about) for name, preset in PRESETS.items()],
        "Suites": [(path.stem, _about(path)) for path in sorted(CONFIGS.glob("*.yaml"))],
        "Boards": [(path.name, _rows(path)) for path in sorted((LEADERBOARDS / "records").glob("*")) if path.is_dir()],
    }


def _about(path: Path) -> str:
    """Return the suite's `about` line without parsing the whole file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("about:"):
            return line.removeprefix("about:").strip()
    return ""


def _rows(path: Path) -> str:
    count = len(list(path.glob("*.json")))
    return f"{count} record{'s' if count != 1 else ''}"
