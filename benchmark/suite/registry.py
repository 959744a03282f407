"""Finds built-in and user-defined methods, and creates them from their options."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import UserError, suggestion
from benchmark.files.mistakes import first_mistake
from benchmark.suite.catalogue import registered_methods
from benchmark.suite.experiment import MethodSpec
from benchmark.suite.method_source import source_sha256
from benchmark.suite.scalars import declared_types, misreading
from methods import BUILT_IN, is_file_target, load_method_class
from methods.base import Method


@dataclass(frozen=True)
class ResolvedMethod:
    """A method class and where it was found."""

    cls: type[Method]
    target: str  # module:Class, or path/to/file.py:Class

    def create(self, options: dict[str, Any], where: str) -> Method:
        """Return the method with these hyper-parameters.

        Raises:
            UserError: if an option is not a field of the method, or has a wrong type or value.
        """
        allowed = [field.name for field in dataclasses.fields(self.cls)]  # type: ignore[arg-type]
        for name in options:
            if name not in allowed:
                raise UserError(
                    f"{where}: options.{name} is not a field of {self.cls.name}.{suggestion(name, allowed)} "
                    f"Known: {', '.join(allowed) or 'none'}"
                )
        types = _declared_types(self.cls)
        for name, value in options.items():
            if reason := misreading(value, types.get(name, object)):
                raise UserError(f"{where}: options.{name} {reason}")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{where}: options.{name} must be a finite number, got {value}")
        try:
            return _adapter(self.cls).validate_python(options)
        except ValidationError as error:
            raise UserError(f"{where}: options {options}: {first_mistake(error)}") from None

    def spec(self, options: dict[str, Any], where: str) -> MethodSpec:
        """Return what identifies the configured method: the options that differ from the defaults, and its source.

        A built-in method is identified by its name alone, so that refactoring its file keeps its results.

        Raises:
            UserError: as for `create` and `source_sha256`.
        """
        method = self.create(options, where)
        changed = {
            field.name: getattr(method, field.name)
            for field in dataclasses.fields(method)  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING or getattr(method, field.name) != field.default
        }
        digest = None if self.target in BUILT_IN.values() else self.source_sha256()
        return MethodSpec(name=self.cls.name, target=self.target, options=changed, source_sha256=digest)

    def source_sha256(self) -> str:
        """Return the SHA-256 of the file that defines the method and of the user's own modules that it imports.

        Raises:
            UserError: if the file cannot be read, for example in a zip archive.
        """
        try:
            # The target's module may only re-export the class.
            path = self.target.rpartition(":")[0] if is_file_target(self.target) else inspect.getfile(self.cls)
            return source_sha256(Path(path), self.cls.__module__)
        except (OSError, TypeError, SyntaxError) as error:
            raise UserError(
                f"method {self.target!r}: its source file, whose hash identifies it, cannot be read: {error}; "
                "give it as path/to/file.py:Class"
            ) from None

    def deviations(self) -> list[str]:
        """Return the DEVIATION paragraphs of the method's module, one line each."""
        text = inspect.getdoc(inspect.getmodule(self.cls)) or ""
        paragraphs = re.findall(r"^DEVIATION: (.+(?:\n(?!DEVIATION:|\n).+)*)", text, flags=re.MULTILINE)
        return [" ".join(paragraph.split()) for paragraph in paragraphs]


# Making these takes milliseconds, and a plan creates the methods of a thousand cells.
_adapter = cache(TypeAdapter[Method])
_declared_types = cache(declared_types)


def resolve(method: str) -> ResolvedMethod:
    """Find a method by its registered name, by path/to/file.py:Class or by package.module:Class.

    Raises:
        UserError: if there is no such method, or its class does not have the required form.
    """
    try:
        if is_file_target(method):
            file, _, class_name = method.rpartition(":")
            path = Path(file).expanduser().resolve()
            if class_name and not path.is_file():
                raise UserError(f"method {method!r}: there is no file {path}")
            target = f"{path}:{class_name}"
        elif ":" in method:
            target = method
        else:
            targets = registered_methods()
            if method not in targets:
                raise UserError(
                    f"unknown method {method!r}.{suggestion(method, targets)} Known: {', '.join(sorted(targets))}; "
                    "or give path/to/file.py:Class or package.module:Class. See `python -m benchmark list`"
                )
            target = targets[method]
        cls = load_method_class(target)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in's module may raise anything at import
        remedy = "; put its folder on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else ""
        raise UserError(f"method {method!r} cannot be loaded: {type(error).__name__}: {error}{remedy}") from error
    _check_form(cls, target)
    return ResolvedMethod(cls, target)


def _check_form(cls: type[Method], target: str) -> None:
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"(?=.{1,40}$)[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserError(f"{target}: `name` must be lower-case letters, digits and single underscores, got {name!r}")
    dataclass_settings = getattr(cls, "__dataclass_params__", None)
    if dataclass_settings is None or not dataclass_settings.frozen:
        raise UserError(f"{target}: a method must be a frozen dataclass; add @dataclass(frozen=True) above the class")
    if inspect.isabstract(cls):
        raise UserError(f"{target}: {cls.__name__} lacks {', '.join(sorted(cls.__abstractmethods__))}")
    if BUILT_IN.get(name, target) != target:
        raise UserError(f"{target}: {name!r} is the name of a built-in method; choose another `name`")
