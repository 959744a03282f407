"""YAML that can be read in one way only: keys are unique, and nothing ambiguous is converted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import UserError

MAX_NODES = 100_000  # of a file whose aliases are written out: a thousand times the largest suite


class SettingsLoader(yaml.SafeLoader):
    """Reads only what nobody can read in another way; refuses a key that is there twice.

    YAML 1.1 takes 012 for ten, 1:30 for ninety and `no` for a truth value, YAML 1.2 does not. All that is ambiguous
    stays text here, as it is written. A setting that is a number refuses it, one that is yes or no understands it.
    """

    # Filled below, so that nothing is inherited; by the characters that a value may begin with.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document.

        Raises:
            yaml.MarkedYAMLError: if aliases make it endless or enormous.
        """
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MAX_NODES:
            raise yaml.MarkedYAMLError(
                problem=f"its aliases stand for themselves, or for more than {MAX_NODES:,} values"
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping.

        Raises:
            yaml.MarkedYAMLError: if a key is there twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
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
    """Read a number, also one that an explicit tag declares to be one."""
    text = loader.construct_scalar(node)
    if not re.fullmatch(f"{_INTEGER}|{_FLOAT}", text):
        raise yaml.MarkedYAMLError(problem=f"{text!r} is no number in decimal digits", problem_mark=node.start_mark)
    read = loader.construct_yaml_int if node.tag.endswith(":int") else loader.construct_yaml_float
    number: int | float = read(node)
    return number


SettingsLoader.add_constructor("tag:yaml.org,2002:int", _number)
SettingsLoader.add_constructor("tag:yaml.org,2002:float", _number)


def _written_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node has if each alias is replaced by what it stands for."""
    if id(node) not in sizes:
        sizes[id(node)] = MAX_NODES + 1  # while it is open: an alias to it would have no end
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        sizes[id(node)] = 1 + sum(_written_out(child, sizes) for child in children)
    return sizes[id(node)]


def read_mapping(path: Path, keys: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, in which no key may stand twice.

    Args:
        path: of the file.
        keys: what the mapping should have, for the message if there is none.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if the file is not YAML, or holds something else.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), SettingsLoader)  # a SafeLoader
    except FileNotFoundError:
        raise
    except RecursionError:
        raise UserError(f"{path} cannot be read as YAML: it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path} cannot be read as YAML: {line}{error.problem}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read as YAML: it is no text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} must hold a mapping with {keys}; got {type(document).__name__}")
    return document
