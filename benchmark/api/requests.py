"""Turns what Python users pass to `plan` and `run` into what the command line would have got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import yaml

from benchmark.api.places import checked_path, optional_path
from benchmark.errors import UserError
from benchmark.files.yaml_file import SettingsLoader
from benchmark.session import Request

Methods = str | Sequence[str]
Seeds = int | str | Sequence[int]
Settings = Mapping[str, object] | Sequence[str]


def request_of(
    suite: str | PathLike[str] | None,
    methods: Methods | None,
    dataset: str | None,
    preset: str | None,
    seeds: Seeds | None,
    settings: Settings | None,
    data_dir: str | PathLike[str] | None,
    out: str | PathLike[str],
) -> Request:
    """Return the request for these arguments, which `benchmark.plan` describes.

    Raises:
        UserError: if an argument has another type.
    """
    return Request(
        suite=None if suite is None else suite if suite == "" else str(checked_path(suite, "suite")),
        methods=_methods(methods),
        dataset=_text(dataset, "dataset"),
        preset=_text(preset, "preset"),
        seeds=_seeds(seeds),
        overrides=_overrides(settings),
        data_dir=optional_path(data_dir, "data_dir"),
        out=checked_path(out, "out"),
    )


def _text(value: object, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UserError(f"{name} must be a name as text, or None; got {value!r}")
    return value


def _methods(methods: object) -> str | None:
    if methods is None or isinstance(methods, str):
        return methods
    if not isinstance(methods, Sequence) or not all(isinstance(name, str) for name in methods):
        raise UserError(f"methods must be 'all', a name or a list of names; got {methods!r}")
    return ",".join(methods)


def _seeds(seeds: object) -> str | None:
    if seeds is None or isinstance(seeds, str):
        return seeds
    numbers = seeds if isinstance(seeds, Sequence) else [seeds]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise UserError(f"seeds must be a whole number or a list of them; got {seeds!r}")
    return ",".join(map(str, numbers))


def _overrides(settings: object) -> tuple[str, ...]:
    if settings is None:
        return ()
    if isinstance(settings, Mapping):
        return tuple(f"{name}={_yaml(name, value)}" for name, value in settings.items())
    if isinstance(settings, str) or not isinstance(settings, Sequence) or not all(isinstance(x, str) for x in settings):
        raise UserError(f"settings must be a dictionary such as {{'training.epochs': 5}}; got {settings!r}")
    return tuple(settings)


def _yaml(name: object, value: object) -> str:
    """Return a value as --set takes it: in YAML, on one line."""
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix("\n").removesuffix("\n...")
        same = isinstance(name, str) and yaml.load(text, SettingsLoader) == value  # a SafeLoader
    except yaml.YAMLError:
        same = False
    if not same:
        raise UserError(f"settings: {name!r} must be a dotted name, and its value plain data; got {value!r}")
    return text
