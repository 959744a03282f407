"""Imports point one way, and files stay short enough to be read at one go."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from methods import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 250

CONCRETE_METHODS = sorted(target.partition(":")[0] for target in BUILT_IN.values())
HEAVY = ("torch", "torchvision", "pandas", "matplotlib")
# Answer at once: none of these may reach a heavy package when it is imported.
LIGHT = (
    "methods",
    "benchmark.api.watching",
    "benchmark.cli.main",
    "benchmark.data.catalog",
    "benchmark.errors",
    "benchmark.files",
    "benchmark.launch.status",
    "benchmark.launch.status_text",
    "benchmark.leaderboard",
    "benchmark.networks.shapes",
    "benchmark.results",
    "benchmark.suite.catalogue",
    "benchmark.suite.presets",
)
# From the ground up. A module belongs to the longest name that it lies in, and imports only from its own layer or from
# layers below it. `methods` lies below all: it imports nothing of `benchmark`.
LAYERS = (
    "benchmark.errors",
    "benchmark.files",
    "benchmark.runtime",
    "benchmark.results",
    "benchmark.data.catalog",
    "benchmark.data.readers",
    "benchmark.data",
    "benchmark.networks",
    "benchmark.suite",
    "benchmark.attacks",
    "benchmark.evaluation.fast",
    "benchmark.evaluation",
    "benchmark.evaluation.health",
    "benchmark.evaluation.opponent",
    "benchmark.evaluation.evaluate",
    "benchmark.evaluation.further_images",
    "benchmark.artifact",
    "benchmark.foreign",
    "benchmark.training",
    "benchmark.launch",
    "benchmark.leaderboard.formats",
    "benchmark.leaderboard.ticks",
    "benchmark.leaderboard.board",
    "benchmark.leaderboard.paper",
    "benchmark.leaderboard.pages",
    "benchmark.leaderboard.history",
    "benchmark.leaderboard.figure_plans",
    "benchmark.leaderboard.site",
    "benchmark.leaderboard",
    "benchmark.figures",
    "benchmark.planning",
    "benchmark.session",
    "benchmark.running",
    "benchmark.bench",
    "benchmark.conformance",
    "benchmark.review",
    "benchmark.submission",
    "benchmark.audit",
    "benchmark.api",
    "benchmark.hub",
    "benchmark.cli",
    "benchmark.__main__",
    "benchmark",
)
# Folders with one door, their `__init__`: nobody else imports what lies behind it.
DOORS = ("benchmark.evaluation.fast",)
# Tables of published names: the only places of `benchmark` where a method's name is written down.
PUBLISHED_NAMES = (
    "benchmark.foreign.checkpoints.hydra",  # a repository's layout bears the repository's name
    "benchmark.leaderboard.board.reference",
    "benchmark.leaderboard.pages.bibtex",
)


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


@cache
def imports_of(text: str) -> Imports:
    """Collect what a module imports; `from a import b` counts as a and a.b, since b may be a module."""
    imports = Imports()
    _collect(ast.parse(text).body, imports, at_once=True)
    return imports


def _collect(nodes: list[ast.stmt], imports: Imports, *, at_once: bool) -> None:
    for node in nodes:
        names = imports.at_once if at_once else imports.later
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here, and this check does not follow them"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        else:
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            _collect(_statements_in(node), imports, at_once=at_once and not lazy and not typing_only)


def _statements_in(node: ast.AST) -> list[ast.stmt]:
    """Return the statements one level below a node, those of except and case clauses included."""
    children = list(ast.iter_child_nodes(node))
    clauses = [child for child in children if isinstance(child, ast.ExceptHandler | ast.match_case)]
    return [child for child in children if isinstance(child, ast.stmt)] + [
        child for clause in clauses for child in clause.body
    ]


def within(name: str, part: str) -> bool:
    """Return whether a dotted name is a part or lies in it."""
    return name == part or name.startswith(f"{part}.")


def layer_of(module: str) -> int | None:
    """Return the position of a module's layer; None if it has none."""
    layers = [position for position, part in enumerate(LAYERS) if within(module, part)]
    return max(layers, key=lambda position: len(LAYERS[position]), default=None)


def forbidden_imports(sources: dict[str, str]) -> Iterator[str]:
    """Yield every import that goes up, past a door, or to a concrete method, wherever it stands."""
    for module, text in sorted(sources.items()):
        imports = imports_of(text)
        for name in sorted(imports.at_once | imports.later):
            if _is_forbidden(module, name, sources):
                yield f"{module} imports {name}"


def _is_forbidden(module: str, name: str, sources: dict[str, str]) -> bool:
    if within(name, "tests"):
        return True
    if within(module, "methods"):
        return within(name, "benchmark")
    if any(within(name, method) for method in CONCRETE_METHODS):
        return True
    if not within(name, "benchmark"):
        return False
    if any(name.startswith(f"{door}.") and name in sources and not within(module, door) for door in DOORS):
        return True
    # `from package import name` counts as both, and `name` may be no module.
    target = name if name in sources else name.rpartition(".")[0]
    own, other = layer_of(module), layer_of(target)
    return own is not None and other is not None and other > own


def cycles(sources: dict[str, str]) -> Iterator[str]:
    """Yield every module that imports itself by way of others, imports inside functions included."""
    graph = {}
    for module, text in sources.items():
        imports = imports_of(text)
        graph[module] = (imports.at_once | imports.later) & set(sources) - {module, "benchmark"}
    for start in sorted(graph):
        reached, open_ends = set(), [start]
        while open_ends:
            for name in graph[open_ends.pop()] - reached:
                reached.add(name)
                open_ends.append(name)
        if start in reached:
            yield f"{start} imports itself by way of others"


def named_methods(sources: dict[str, str]) -> Iterator[str]:
    """Yield every place of `benchmark` that names a built-in method, tables of published names excepted."""
    for module, text in sorted(sources.items()):
        if within(module, "benchmark") and module not in PUBLISHED_NAMES:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    names = {word.strip() for word in node.value.split(",")} & BUILT_IN.keys()
                    yield from (f"{module} names {name}" for name in sorted(names))


def paths_into_tests(sources: dict[str, str]) -> Iterator[str]:
    """Yield every place of `benchmark` that spells a path into tests/, from which code could be run."""
    for module, text in sorted(sources.items()):
        for node in ast.walk(ast.parse(text)) if within(module, "benchmark") else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_in_tests(node.value):
                yield f"{module} names {node.value}"


def _is_in_tests(path: str) -> bool:
    return " " not in path and "tests" in path.split("/")


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
    named = {*LIGHT, *LAYERS, *DOORS, *PUBLISHED_NAMES, *CONCRETE_METHODS}

    assert named <= set(sources)


def test_every_module_is_in_one_layer(sources):
    assert len(set(LAYERS)) == len(LAYERS)
    assert [module for module in sources if within(module, "benchmark") and layer_of(module) is None] == []
    # The last one is for the package itself, not for whatever nobody thought of.
    assert [module for module in sources if layer_of(module) == len(LAYERS) - 1] == ["benchmark"]


def test_the_documentation_shows_the_layers_in_their_order():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    assert tuple(re.findall(r"^\| `(benchmark[\w.]*)` \|", page, flags=re.MULTILINE)) == LAYERS


def test_no_module_imports_itself_by_way_of_others(sources):
    assert list(cycles(sources)) == []
    assert list(cycles({"a": "import b", "b": "def late():\n    import c", "c": "import a", "d": "import a"})) == [
        f"{module} imports itself by way of others" for module in "abc"
    ]


def test_no_module_of_the_benchmark_names_a_method(sources):
    assert list(named_methods(sources)) == []
    planted = {"benchmark.new": 'METHOD = "hydra"', PUBLISHED_NAMES[0]: 'METHOD = "hydra"', "methods.new": 'A = "at"'}
    assert list(named_methods(planted)) == ["benchmark.new names hydra"]


def test_no_module_of_the_benchmark_reaches_into_the_tests(sources):
    assert list(paths_into_tests(sources)) == []
    planted = {"benchmark.new": 'PATH = ROOT / "tests" / "x.py"', "benchmark.other": 'PATH = "tests/x.py"'}
    assert list(paths_into_tests(planted)) == ["benchmark.new names tests", "benchmark.other names tests/x.py"]


PLANTED = [
    ("methods.new", "from benchmark.errors import UserError", "benchmark.errors"),
    ("methods.new", "def late():\n    import benchmark", "benchmark"),
    ("benchmark.planning.states", "from methods.at import AT", "methods.at"),
    ("benchmark.planning.states", "from methods import edge_popup", "methods.edge_popup"),
    ("benchmark.suite.new", "try:\n    import methods.at\nexcept ImportError:\n    pass", "methods.at"),
    ("benchmark.bench.new", "from tests.cheats import CHEATS", "tests.cheats"),
    ("benchmark.errors", "from benchmark.files.text import visible", "benchmark.files.text"),
    ("benchmark.files.new", "import benchmark.runtime.devices", "benchmark.runtime.devices"),
    ("benchmark.runtime.new", "from benchmark.results import store", "benchmark.results.store"),
    ("benchmark.results.new", "from benchmark.leaderboard.board import rows", "benchmark.leaderboard.board.rows"),
    ("benchmark.data.readers.new", "from benchmark.data.load import load_test", "benchmark.data.load"),
    ("benchmark.networks.new", "from benchmark.suite.experiment import Experiment", "benchmark.suite.experiment"),
    ("benchmark.suite.new", "from benchmark.launch.order import work_folder", "benchmark.launch.order"),
    ("benchmark.attacks", "import benchmark.submission", "benchmark.submission"),
    ("benchmark.files.new", "from benchmark import evaluate", "benchmark.evaluate"),
    ("benchmark.files.new", "import benchmark\n\nbenchmark.boards()", "benchmark"),
    ("benchmark.attacks", "from benchmark.submission.replay import Replay", "benchmark.submission.replay"),
    ("benchmark.evaluation.fast.new", "import benchmark.evaluation.accuracy", "benchmark.evaluation.accuracy"),
    (
        "benchmark.evaluation.new",
        "from benchmark.evaluation.health import health",
        "benchmark.evaluation.health.health",
    ),
    (
        "benchmark.evaluation.new",
        "from benchmark.evaluation.fast.folding import fold",
        "benchmark.evaluation.fast.folding",
    ),
    ("benchmark.evaluation.new", "from benchmark.review.text import lines", "benchmark.review.text"),
    ("benchmark.evaluation.health.new", "import benchmark.evaluation.evaluate", "benchmark.evaluation.evaluate"),
    ("benchmark.artifact.new", "from benchmark.training.loop import train", "benchmark.training.loop"),
    ("benchmark.training.new", "import benchmark.session", "benchmark.session"),
    ("benchmark.training.new", "from benchmark.leaderboard.render import render", "benchmark.leaderboard.render"),
    ("benchmark.launch.new", "from benchmark.planning.states import plan", "benchmark.planning.states"),
    (
        "benchmark.leaderboard.board.new",
        "import benchmark.leaderboard.pages.latex",
        "benchmark.leaderboard.pages.latex",
    ),
    (
        "benchmark.leaderboard.pages.new",
        "from benchmark.leaderboard.site import pages",
        "benchmark.leaderboard.site.pages",
    ),
    ("benchmark.leaderboard.figure_plans.new", "import benchmark.figures.draw", "benchmark.figures.draw"),
    ("benchmark.planning.new", "from benchmark.bench.measure import measure", "benchmark.bench.measure"),
    ("benchmark.session", "def late():\n    import benchmark.cli.main", "benchmark.cli.main"),
    (
        "benchmark.review.new",
        "if TYPE_CHECKING:\n    from benchmark.audit import auditing",
        "benchmark.audit.auditing",
    ),
    ("benchmark.submission.new", "from benchmark.cli.review import verify", "benchmark.cli.review"),
]


@pytest.mark.parametrize(("module", "text", "name"), PLANTED)
def test_the_check_finds_a_planted_import(sources, module, text, name):
    assert f"{module} imports {name}" in list(forbidden_imports(sources | {module: text}))


@pytest.mark.parametrize(
    ("module", "text", "chain"),
    [
        ("benchmark.suite.presets", "import torch.nn", "benchmark.suite.presets -> torch.nn"),
        ("benchmark.suite.presets", "from torch import Tensor", "benchmark.suite.presets -> torch"),
        (
            "benchmark.cli.main",
            "from benchmark import session",
            "benchmark.cli.main -> benchmark.session -> benchmark.",
        ),
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
    problems = list(heavy_imports(sources | {module: text}))

    assert any(line.startswith(chain) for line in problems)


@pytest.mark.parametrize("text", ["def late():\n    import torch", "if TYPE_CHECKING:\n    import torch"])
def test_an_import_inside_a_function_or_for_type_checkers_costs_nothing(sources, text):
    assert list(heavy_imports(sources | {"benchmark.suite.presets": text})) == []


def test_the_check_finds_a_planted_long_file(sources):
    problems = list(long_files({"benchmark.new": "\n" * 251, "benchmark.old": "\n" * 250}))

    assert problems == ["benchmark.new has 251 lines, at most 250 are allowed"]
