"""Reusing freed memory causes no page faults, measured in a separate process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from benchmark.training.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def touch():
    block = ctypes.create_string_buffer(64 << 20)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
before = faults()
for _ in range(4):
    touch()
print(kept, faults() - before)
"""


def run(choice):
    done = subprocess.run([sys.executable, "-c", PROGRAM, choice], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_kept_memory_is_reused_without_page_faults():
    kept, faults = run("keep")
    assert kept
    assert faults < 100
    assert run("as it is")[1] > 1000


def test_other_platforms_are_not_changed(monkeypatch):
    from benchmark.training.allocator import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
