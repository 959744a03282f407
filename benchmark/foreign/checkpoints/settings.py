"""The settings of the original run: from the file that its repository writes, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import UserError, suggestion
from benchmark.files.yaml_file import read_mapping
from benchmark.foreign.checkpoints.namespace import read_namespaces
from benchmark.suite.scalars import is_decimal

# Written by the repositories into the folder of the checkpoint, or into the one above a folder for checkpoints.
NAMES = (
    "args.yaml",
    "args.yml",
    "args.json",
    "config.yaml",
    "config.yml",
    "config.json",
    "configs.json",
    "settings.txt",
    "setup.log",
)
_CHECKPOINT_FOLDERS = ("checkpoint", "checkpoints")
_MAX_BYTES = 2**24


@dataclass(frozen=True)
class Settings:
    """Settings by name.

    Attributes:
        values: numbers, texts, truth values, lists and mappings by name.
        source: the file they come from; None if there is none.
    """

    values: Mapping[str, object]
    source: Path | None

    def get(self, name: str) -> object | None:
        """Return a setting; None if it is not there, or there as None."""
        value = self.values.get(name)
        return None if value in (None, "None") else value

    def text(self, name: str) -> str | None:
        """Return a setting as text."""
        value = self.get(name)
        return None if value is None else str(value)

    def flag(self, name: str) -> bool | None:
        """Return a truth value."""
        value = self.get(name)
        return value if isinstance(value, bool) else {"True": True, "False": False}.get(str(value))

    def number(self, name: str) -> float | None:
        """Return a number.

        Raises:
            UserError: if it is something else.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not is_decimal(str(value)):
            raise UserError(f"{self.named}: {name} must be a number, got {value!r}; give --set {name}=NUMBER")
        return float(str(value))

    @property
    def named(self) -> str:
        """The file's name, for messages."""
        return "the command line" if self.source is None else str(self.source)

    def needed(self, name: str, meaning: str, option: str) -> float:
        """Return a number that decides the result.

        Raises:
            UserError: if nothing says it.
        """
        value = self.number(name)
        if value is None:
            raise UserError(
                f"{meaning} ({name} in the repository) is neither in the checkpoint nor in a config beside it; give "
                f"{option}, or the run's own file by --config"
            )
        return value

    def with_given(self, name: str, value: object, option: str) -> Settings:
        """Return the settings with one from the command line.

        Raises:
            UserError: if the file says something else.
        """
        present = self.get(name)
        if present is not None and not _equal(present, value):
            raise UserError(
                f"{option} contradicts {self.named}, where {name} is {present}: another value gives another network; "
                "leave the option out, or give the checkpoint's own file by --config"
            )
        return Settings({**self.values, name: value}, self.source)


def read_settings(checkpoint: Path, config: Path | None, wanted: Iterable[str]) -> Settings:
    """Return the settings of the run that wrote a checkpoint.

    Args:
        checkpoint: the checkpoint; a file of `NAMES` beside it is read if no other is named.
        config: the file to read instead.
        wanted: settings of the layout; a file beside the checkpoint without any of them is not its config.

    Raises:
        UserError: if the file cannot be read, or several files beside the checkpoint could be meant.
    """
    wanted = tuple(wanted)
    if config is not None and not wanted:
        raise UserError(f"--config {config}: no setting decides anything in this layout; leave the option out")
    if config is not None:
        values = _read(config)
        if not set(wanted) & values.keys():
            raise UserError(f"--config {config} holds none of {', '.join(wanted)}; give the file that the run wrote")
        return Settings(values, config)
    folder = checkpoint.parent
    folders = [folder, folder.parent] if folder.resolve().name in _CHECKPOINT_FOLDERS else [folder]
    files = [place / name for place in folders for name in NAMES if (place / name).is_file()]
    read = {file: values for file in files if set(wanted) & (values := _read(file)).keys()}
    if len(read) > 1:
        raise UserError(
            f"{' and '.join(str(file) for file in read)} could both be the config of {checkpoint.name}; name one by "
            "--config"
        )
    return next((Settings(values, file) for file, values in read.items()), Settings({}, None))


def parse_given(text: str) -> tuple[str, object]:
    """Return name and value of NAME=VALUE.

    Raises:
        UserError: if the text is something else.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not value:
        raise UserError(f"--set {text} is not NAME=VALUE, such as --set alpha=0.1")
    return name, value


def check_names(given: Iterable[str], wanted: Iterable[str], layout: str) -> None:
    """Raise UserError for a setting that a layout does not have."""
    wanted = tuple(wanted)
    names = ", ".join(wanted) or "none"
    for name in given:
        if name not in wanted:
            raise UserError(f"--set {name}: {layout} has no such setting.{suggestion(name, wanted)} Known: {names}")


def _equal(present: object, value: object) -> bool:
    if is_decimal(str(present)) and is_decimal(str(value)):
        return float(str(present)) == float(str(value))
    return str(present) == str(value)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"--config {path} is not a file; give the file that the run wrote")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES:,} bytes; give the file with the run's settings by --config")
    if path.suffix in (".yaml", ".yml"):
        return read_mapping(path, "the run's settings")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            document = json.loads(text)
            document = document.get("config", document) if isinstance(document, dict) else document
            if not isinstance(document, dict):
                raise ValueError("it holds no settings by name")
            return document
        return _agreed(list(read_namespaces(text)))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} cannot be read as settings ({error}); give another file by --config") from None


def _agreed(namespaces: list[dict[str, object]]) -> dict[str, object]:
    """Return the settings in which all namespaces of a log agree; a run that was resumed writes a second one."""
    if not namespaces:
        return {}
    last = namespaces[-1]
    return {name: value for name, value in last.items() if all(other.get(name) == value for other in namespaces)}
