"""The method of docs/adding-a-method.md is executed as it stands there: checked, packaged, listed and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark.conformance.check import check_method
from benchmark.conformance.rules import RULES
from benchmark.suite.registry import resolve
from methods.base import Target

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")

SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: 200/255
architecture: {name: resnet10, width: 0.5}
grid: {weights: binary, keep_ratio: 0.3, allocation: 1.0}
methods: [{method: gradual_pruning}]
training: {epochs: 3, batch_size: 16, attack: {num_steps: 2}, selection_steps: 2}
evaluation: {images: 8, pgd: {steps: 5}}
"""


def block(language):
    """Return the page's only code block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def package(tmp_path):
    """Write the page's method and project file, and the metadata pip would make of the latter."""
    folder = tmp_path / "gradual-pruning"
    folder.mkdir()
    (folder / "gradual_pruning.py").write_text(block("python"), encoding="utf-8")
    (folder / "pyproject.toml").write_text(block("toml"), encoding="utf-8")
    project = tomllib.loads(block("toml"))["project"]
    metadata = folder / f"gradual_pruning-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [Target(0.3, "fp", "global"), Target(0.3, "binary", 0.5)], ids=lambda target: target.weights
)
def test_the_method_of_the_page_passes_every_rule(package, target):
    found = resolve(f"{package / 'gradual_pruning.py'}:GradualPruning")

    verdicts = list(check_method(found, [target]))

    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert {verdict.rule.name for verdict in verdicts} >= {"budget", "state", "resume"}


def test_the_method_of_the_page_keeps_exactly_its_budget_and_tightens_the_mask_by_the_cubic_schedule(
    package, make_plan
):
    method = resolve(f"{package / 'gradual_pruning.py'}:GradualPruning").cls()
    target = Target(0.1, "fp", "global")
    model = method.build(make_plan(), target)
    densities = []
    for phase in method.phases(40, target):
        method.begin_phase(model, phase)
        masks = [buffer for name, buffer in model.named_buffers() if name.endswith("mask")]
        densities.append(sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks))

    expected = [1.0, *(0.1 + 0.9 * (1 - step / 8) ** 3 for step in range(1, 9)), 0.1]
    assert densities == pytest.approx(expected, abs=1e-3)


def test_the_page_lists_the_rules_as_they_are():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE)

    assert rows == [(rule.name, rule.meaning) for rule in RULES]


def test_the_deviations_of_the_page_become_footnotes(package):
    found = resolve(f"{package / 'gradual_pruning.py'}:GradualPruning")

    assert len(found.deviations()) == block("python").count("DEVIATION:") == 3


@pytest.mark.slow
def test_the_package_of_the_page_is_listed_checked_and_gets_its_row(package, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}
    suite = tmp_path / "tiny.yaml"
    suite.write_text(SUITE)

    def command(*arguments):
        finished = subprocess.run(
            [sys.executable, "-m", "benchmark", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    listed = command("list")
    checked = command("check", "gradual_pruning")
    finished = command("run", "tiny.yaml", "--methods", "gradual_pruning", "--out", "out")

    assert re.search(r"gradual_pruning +Gradual magnitude pruning: the smallest weights go in steps", listed)
    assert "FAIL" not in checked and "checks passed on 6 targets, 2 refused" in checked
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "out" / "records").rglob("*.json"))
    assert record["method"]["target"] == "gradual_pruning:GradualPruning"
    assert record["compression"]["kept_weights"] <= record["compression"]["budget"]
    assert "gradual_pruning" in finished
