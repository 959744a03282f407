"""Unambiguous YAML: keys are unique, and ambiguous values stay text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import UserError

MAX_NODES = 100_000  # of a file with its aliases expanded: a thousand times the largest suite


class SettingsLoader(yaml.SafeLoader):
    """Loads YAML without ambiguity; refuses duplicate keys.

    YAML 1.1 reads 012 as ten, 1:30 as ninety and `no` as false, YAML 1.2 does not. Such values stay text here. A
    numeric setting refuses them, a boolean one accepts yes and no.
    """

    # By first character of a value; filled below, so that nothing is inherited.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document.

        Raises:
            yaml.MarkedYAMLError: if aliases make it endless or enormous.
        """
        node = super().get_single_node()
        if node is not None and _expanded_size(node, {}) > MAX_NODES:
            raise yaml.MarkedYAMLError(
                problem=f"its aliases refer to themselves or expand to more than {MAX_NODES:,} values"
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping.

        Raises:
            yaml.MarkedYAMLError: if a key appears twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} appears twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_INTEGER = r"(?:0|-?[1-9][0-9]{0,999})"  # Python refuses to convert thousands of digits
_FLOAT = r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", _INTEGER, "-0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    SettingsLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _number(loader: SettingsLoader, node: yaml.ScalarNode) -> int | float:
    """Read a number, including one declared by an explicit tag."""
    text = loader.construct_scalar(node)
    if not re.fullmatch(f"{_INTEGER}|{_FLOAT}", text):
        raise yaml.MarkedYAMLError(problem=f"{text!r} is not a decimal number", problem_mark=node.start_mark)
    read = loader.construct_yaml_int if node.tag.endswith(":int") else loader.construct_yaml_float
    number: int | float = read(node)
    return number


SettingsLoader.add_constructor("tag:yaml.org,2002:int", _number)
SettingsLoader.add_constructor("tag:yaml.org,2002:float", _number)


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values of a node with all aliases expanded."""
    if id(node) not in sizes:
        sizes[id(node)] = MAX_NODES + 1  # until it is complete: an alias to it would be infinite
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        sizes[id(node)] = 1 + sum(_expanded_size(child, sizes) for child in children)
    return sizes[id(node)]


def read_mapping(path: Path, keys: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, in which no key may appear twice.

    Args:
        path: path of the file.
        keys: the expected keys, for the message if there is no mapping.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if the file is not YAML, or holds something else.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a YAML file") from None
    return parse_mapping(text, str(path), keys)


def parse_mapping(content: bytes, name: str, keys: str) -> dict[str, Any]:
    """Read the content of a YAML file that holds a mapping; `name` is for messages, the rest as for `read_mapping`."""
    try:
        document = yaml.load(content.decode("utf-8"), SettingsLoader)  # a SafeLoader
    except RecursionError:
        raise UserError(f"{name} cannot be read as YAML: it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{name} cannot be read as YAML: {line}{error.problem}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name} cannot be read as YAML: it is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise UserError(f"{name} must hold a mapping with {keys}; got {type(document).__name__}")
    return document
