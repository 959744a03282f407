"""Torchvision is imported late, and its absence is a sentence."""

from __future__ import annotations

import importlib

import pytest

from benchmark.errors import UserError
from benchmark.foreign.torchvision_package import import_torchvision


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name="torchvision")

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(UserError, match=r"this test needs the package torchvision, .*pip install -e '\.\[onnx\]'"):
        import_torchvision("torchvision.models", purpose="this test")


def test_other_failures_of_the_import_are_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", broken)

    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision("torchvision.models", purpose="this test")
