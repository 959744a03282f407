"""Imports point one way, and files stay short enough to be read at one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from methods import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 250

CONCRETE_METHODS = sorted(target.partition(":")[0] for target in BUILT_IN.values())
HEAVY = ("torch", "torchvision", "pandas")
LIGHT = (
    "methods",
    "benchmark.architectures",
    "benchmark.catalogue",
    "benchmark.cli",
    "benchmark.data.catalog",
    "benchmark.errors",
    "benchmark.leaderboard",
    "benchmark.presets",
    "benchmark.results",
)
# A part and what no file of it may import, wherever the import stands.
FORBIDDEN = {
    "methods": ["benchmark"],
    "benchmark": CONCRETE_METHODS,
    "benchmark.training": ["benchmark.launch", "benchmark.cli", "benchmark.session"],
    "benchmark.evaluation": ["benchmark.launch", "benchmark.cli", "benchmark.session", "benchmark.training"],
    "benchmark.artifact": ["benchmark.launch", "benchmark.cli", "benchmark.session", "benchmark.training"],
    "benchmark.review": ["benchmark.cli", "benchmark.session", "benchmark.training"],
    "benchmark.submission": ["benchmark.cli", "benchmark.session", "benchmark.training"],
    "benchmark.results": ["benchmark.leaderboard", "benchmark.training", "benchmark.launch", "benchmark.cli"],
    "benchmark.leaderboard": ["benchmark.training", "benchmark.evaluation", "benchmark.launch", "benchmark.cli"],
}


@dataclass
class Imports:
    """Names a module imports: at once, and later or for type checkers only."""

    at_once: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)


def read_sources() -> dict[str, str]:
    """Return the text of every module of the project by dotted name; a package bears the name of its folder."""
    sources = {}
    for path in [*(ROOT / "methods").rglob("*.py"), *(ROOT / "benchmark").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def imports_of(text: str) -> Imports:
    """Collect what a module imports; `from a import b` counts as a and a.b, since b may be a module."""
    found = Imports()
    _collect(ast.parse(text).body, found, at_once=True)
    return found


def _collect(nodes: list[ast.stmt], found: Imports, *, at_once: bool) -> None:
    for node in nodes:
        names = found.at_once if at_once else found.later
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here, and this check does not follow them"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        else:
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            _collect(_statements_in(node), found, at_once=at_once and not lazy and not typing_only)


def _statements_in(node: ast.AST) -> list[ast.stmt]:
    """Return the statements one level below a node, those of except and case clauses included."""
    children = list(ast.iter_child_nodes(node))
    clauses = [child for child in children if isinstance(child, ast.ExceptHandler | ast.match_case)]
    return [child for child in children if isinstance(child, ast.stmt)] + [
        child for clause in clauses for child in clause.body
    ]


def within(name: str, part: str) -> bool:
    """Tell whether a dotted name is a part or lies in it."""
    return name == part or name.startswith(f"{part}.")


def forbidden_imports(sources: dict[str, str]) -> Iterator[str]:
    """Yield every import that FORBIDDEN rules out."""
    for module, text in sorted(sources.items()):
        found = imports_of(text)
        for part, targets in FORBIDDEN.items():
            for name in sorted(found.at_once | found.later):
                if within(module, part) and any(within(name, target) for target in targets):
                    yield f"{module} imports {name}"


def heavy_imports(sources: dict[str, str]) -> Iterator[str]:
    """Yield, for every light module, one chain of imports by which it reaches a heavy package."""
    graph = {module: imports_of(text).at_once for module, text in sources.items()}
    for start in sorted(
        module for module in sources if any(within(module, part) for part in LIGHT if part != "methods")
    ):
        yield from _chains(start, graph)
    yield from _chains("methods", graph)


def _chains(start: str, graph: dict[str, set[str]]) -> Iterator[str]:
    reached, open_ends = {start}, [[start]]
    while open_ends:
        chain = open_ends.pop()
        for name in sorted(graph[chain[-1]]):
            if any(within(name, heavy) for heavy in HEAVY):
                yield " -> ".join([*chain, name])
                return
            # Importing a.b.c runs a and a.b first.
            for end in range(1, name.count(".") + 2):
                package = ".".join(name.split(".")[:end])
                if package in graph and package not in reached:
                    reached.add(package)
                    open_ends.append([*chain, package])


def long_files(sources: dict[str, str]) -> Iterator[str]:
    """Yield every module of more than MAX_LINES lines."""
    for module, text in sorted(sources.items()):
        if len(text.splitlines()) > MAX_LINES:
            yield f"{module} has {len(text.splitlines())} lines, at most {MAX_LINES} are allowed"


@pytest.fixture(scope="module")
def sources():
    """Return the project's sources."""
    return read_sources()


def test_imports_point_one_way(sources):
    assert list(forbidden_imports(sources)) == []


def test_what_must_answer_at_once_imports_no_torch(sources):
    assert list(heavy_imports(sources)) == []


def test_no_file_is_longer_than_can_be_read_at_one_go(sources):
    assert list(long_files(sources)) == []


def test_every_part_named_here_exists(sources):
    """A renamed part would otherwise be checked no more."""
    named = {*LIGHT, *FORBIDDEN, *(name for names in FORBIDDEN.values() for name in names)}

    assert named <= set(sources)


@pytest.mark.parametrize(
    ("module", "text", "violation"),
    [
        ("methods.new", "from benchmark.errors import UserError", "methods.new imports benchmark.errors"),
        ("methods.new", "def late():\n    import benchmark", "methods.new imports benchmark"),
        ("benchmark.grid", "from methods.at import AT", "benchmark.grid imports methods.at"),
        ("benchmark.grid", "from methods import edge_popup", "benchmark.grid imports methods.edge_popup"),
        (
            "benchmark.grid",
            "try:\n    import methods.at\nexcept ImportError:\n    pass",
            "benchmark.grid imports methods.at",
        ),
        ("benchmark.training.new", "import benchmark.session", "benchmark.training.new imports benchmark.session"),
        (
            "benchmark.evaluation.new",
            "if TYPE_CHECKING:\n    from benchmark.training import loop",
            "benchmark.evaluation.new imports benchmark.training",
        ),
    ],
)
def test_the_check_finds_a_planted_import(sources, module, text, violation):
    found = list(forbidden_imports(sources | {module: text}))

    assert violation in found


@pytest.mark.parametrize(
    ("module", "text", "chain"),
    [
        ("benchmark.presets", "import torch.nn", "benchmark.presets -> torch.nn"),
        ("benchmark.presets", "from torch import Tensor", "benchmark.presets -> torch"),
        ("benchmark.cli", "from benchmark import session", "benchmark.cli -> benchmark.session -> benchmark."),
        ("benchmark.results", "import torch", "benchmark.results -> torch"),
        ("benchmark.leaderboard.new", "if True:\n    import torch", "benchmark.leaderboard.new -> torch"),
        (
            "benchmark.leaderboard.new",
            "class A:\n    import methods.layers",
            "benchmark.leaderboard.new -> methods.layers",
        ),
    ],
)
def test_the_check_finds_a_planted_way_to_torch(sources, module, text, chain):
    found = list(heavy_imports(sources | {module: text}))

    assert any(line.startswith(chain) for line in found)


@pytest.mark.parametrize("text", ["def late():\n    import torch", "if TYPE_CHECKING:\n    import torch"])
def test_an_import_inside_a_function_or_for_type_checkers_costs_nothing(sources, text):
    assert list(heavy_imports(sources | {"benchmark.presets": text})) == []


def test_the_check_finds_a_planted_long_file(sources):
    found = list(long_files({"benchmark.new": "\n" * 251, "benchmark.old": "\n" * 250}))

    assert found == ["benchmark.new has 251 lines, at most 250 are allowed"]
