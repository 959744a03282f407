"""Fixtures for data set tests."""

import pytest

from benchmark.data import identity


@pytest.fixture
def small_sets(monkeypatch):
    """Let small made-up data sets use published names, by emptying the table of published data sets."""
    monkeypatch.setattr(identity, "PUBLISHED", {})
