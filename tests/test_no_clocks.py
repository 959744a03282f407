"""No test reads a clock: how long something takes says more about the machine than about the code.

Speed is measured in `tests/benchmarks`; here work is counted, and a test that hangs fails by `hangs_after`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
OF_A_PAGE = ("performance" + ".now", "Date" + ".now")


def clocks_in(text: str) -> Iterator[str]:
    """Yield every use of a clock of `time` in a test's code, and of a browser's in the scripts that it runs."""
    yield from (name for name in OF_A_PAGE if name in text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time" and node.attr in CLOCKS:
            yield f"time.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names if alias.name in CLOCKS)


@pytest.mark.parametrize("part", ["benchmark", "gpu", "methods", "."])
def test_no_test_reads_a_clock(part):
    paths = (TESTS / part).glob("*.py") if part == "." else (TESTS / part).rglob("*.py")
    clocks = {path.name: uses for path in paths if (uses := list(clocks_in(path.read_text(encoding="utf-8"))))}

    assert clocks == {}


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("import time\nassert time.monotonic() - begun < 5", "time.monotonic"),
        ("from time import perf_counter as now", "time.perf_counter"),
        ("measure = time.process_time", "time.process_time"),
        ("SCRIPT = 'performance' '.now()'".replace("' '", ""), "performance" + ".now"),
    ],
)
def test_the_check_finds_a_planted_clock(text, clock):
    assert list(clocks_in(text)) == [clock]
