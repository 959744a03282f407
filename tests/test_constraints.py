"""The lists of exact versions that the Makefile installs: complete, and every file by its hash."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LISTS = ["constraints.txt", "constraints-torch.txt", "constraints-torch-cpu.txt", "constraints-dev.txt"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def entries(name):
    """Return the hashes of every requirement of a list."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    hashes_of = {}
    for line in text.splitlines():
        requirement, *hashes = line.split("--hash=")
        hashes_of[requirement.strip()] = [digest.strip() for digest in hashes]
    return hashes_of


def versions(*names):
    """Return the version of every package of some lists that is installed with this Python on this system."""
    requirements = [Requirement(entry) for name in names for entry in entries(name)]
    return {each.name: str(each.specifier) for each in requirements if each.marker is None or each.marker.evaluate()}


@pytest.mark.parametrize("name", LISTS)
def test_every_version_is_exact_and_every_file_has_its_hash(name):
    for requirement, hashes in entries(name).items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+]+( ; .+)?", requirement)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes)


def test_the_lists_hold_whatever_is_installed_here_with_all_extras():
    """Nothing else would show a gap: pip installs the lists without looking at what they need."""
    extras = PROJECT["project"]["optional-dependencies"]
    waiting = [*PROJECT["project"]["dependencies"], *(each for group in extras.values() for each in group)]
    listed, reached = versions(*LISTS), {"robust-compression-benchmark"}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in reached or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        reached.add(name)
        assert name in listed
        with suppress(PackageNotFoundError):  # of an extra that is not installed
            waiting += requires(name) or []
    assert {"torch", "numpy", "pytest"} <= reached


def test_both_builds_of_torch_are_of_one_version():
    usual, cpu = (versions(name)["torch"] for name in ("constraints-torch.txt", "constraints-torch-cpu.txt"))

    assert cpu == f"{usual}+cpu"


def test_what_builds_the_project_is_pinned_and_listed():
    (build,) = (Requirement(each) for each in PROJECT["build-system"]["requires"])

    assert str(build.specifier) == versions("constraints.txt")[build.name]
