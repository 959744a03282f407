"""A copy of the demonstration board that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.files.places import ROOT

DEMO = ROOT / "docs" / "demo"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Return a copy of the demonstration board's records and artifacts."""
    for part in ("records", "artifacts"):
        shutil.copytree(DEMO / part, tmp_path / "demo" / part)
    return tmp_path / "demo"
