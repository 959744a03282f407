"""Architectures of public repositories, with the key names that their state dicts use there."""

from benchmark.foreign.architectures.loading import load_strictly
from benchmark.foreign.architectures.named import NAMES, build

__all__ = ["NAMES", "build", "load_strictly"]
