"""What the documentation says is tried: its methods, commands, imports, paths and links, and the notebook."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path

import nbformat
import pytest
import typer
from nbclient import NotebookClient
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.artifact.measure import measure_export
from benchmark.conformance.rules import RULES
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.render import check_pages, to_terminal
from benchmark.networks.resnet import prunable_sizes
from benchmark.suite.registry import resolve
from methods.allocation import weight_budget
from methods.base import Target

ROOT = Path(__file__).resolve().parents[1]
DOCS, DEMO = ROOT / "docs", ROOT / "docs" / "demo"
TOUR, COMPARING = DOCS / "tour.ipynb", DOCS / "load_and_compare.ipynb"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md"), DEMO / "README.md")
}
METHODS = PAGES["docs/adding-a-method.md"]
HISTORY = "CHANGELOG.md"  # names what is gone, too

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


def blocks(text, language=""):
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


SHORTEST, COMPLETE = blocks(METHODS, "python")
COMMANDS = sorted(
    {
        (name, line.partition("#")[0].strip())
        for name, text in PAGES.items()
        for block in blocks(text)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(("python -m benchmark ", "make "))
    }
)


@pytest.fixture
def package(tmp_path):
    """Write the page's method and project file, and the metadata pip would make of the latter."""
    folder = tmp_path / "gradual-pruning"
    folder.mkdir()
    (project_file,) = blocks(METHODS, "toml")
    (folder / "gradual_pruning.py").write_text(COMPLETE, encoding="utf-8")
    (folder / "pyproject.toml").write_text(project_file, encoding="utf-8")
    project = tomllib.loads(project_file)["project"]
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


def test_the_shortest_method_exports_exactly_its_budget(tmp_path, make_plan, train_steps, make_batch, make_objective):
    (tmp_path / "my_pruning.py").write_text(SHORTEST, encoding="utf-8")
    method = resolve(f"{tmp_path / 'my_pruning.py'}:MyPruning").cls()
    plan, target = make_plan(), Target(0.1, "binary", 0.5)
    model = method.build(plan, target)
    train_steps(method, model, target, make_batch(), make_objective(), steps=1)

    sizes = prunable_sizes(plan)
    budget = weight_budget(sum(sizes.values()), 0.1)
    measured = measure_export(method.export(model), sizes, budget=budget, binary=True)

    assert measured.kept_weights == budget


def test_the_complete_method_keeps_exactly_its_budget_and_tightens_the_mask_by_the_cubic_schedule(package, make_plan):
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
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", METHODS, flags=re.MULTILINE)

    assert rows == [(rule.name, rule.meaning) for rule in RULES]


def test_the_deviations_of_the_page_become_footnotes(package):
    resolved = resolve(f"{package / 'gradual_pruning.py'}:GradualPruning")

    assert len(resolved.deviations()) == COMPLETE.count("DEVIATION:") == 3


@pytest.mark.slow
def test_the_package_of_the_page_is_listed_checked_and_gets_its_row(package, tmp_path, monkeypatch):
    """The package is on the path of this process and of the workers."""
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(package)]))
    suite, out = tmp_path / "tiny.yaml", tmp_path / "out"
    suite.write_text(SUITE)

    def command(*arguments):
        finished = CliRunner().invoke(app, arguments)
        assert finished.exit_code == 0, finished.output
        return finished.output

    listed = command("list")
    checked = command("check", "gradual_pruning")
    printed = command("run", str(suite), "--methods", "gradual_pruning", "--out", str(out))

    assert re.search(r"gradual_pruning +Gradual magnitude pruning: the smallest weights go in steps", listed)
    assert "FAIL" not in checked and "checks passed on 8 targets, 5 refused" in checked
    of_groups = {"groups"}  # a rule for targets that the method refuses
    for name in {rule.name for rule in RULES} - of_groups:
        assert re.search(rf"^pass .*\b{name}\b", checked, flags=re.MULTILINE), name
    (record,) = (json.loads(path.read_text()) for path in (out / "records").rglob("*.json"))
    assert record["method"]["target"] == "gradual_pruning:GradualPruning"
    assert record["compression"]["kept_weights"] <= record["compression"]["budget"]
    assert "gradual_pruning" in printed


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_of_a_page_exists_with_its_options(page, line):
    program, *words = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert words[0] in targets
        return
    command = typer.main.get_command(app).commands[words[2]]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_the_code_of_a_page_imports_is_there(page):
    for block in blocks(PAGES[page], "python"):
        imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page, "exec"), {})


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {HISTORY}))
def test_every_file_that_a_page_names_or_links_to_is_there(page):
    """Links between the pages of docs/ are also checked by `make docs`, links into their sections included."""
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:benchmark|methods|configs|tests|docs|\.ci|\.github)/[\w/.-]*)`", text)
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)

    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [link for link in linked if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_readme_is_short_and_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.\w+)\)", PAGES["README.md"]))
    in_the_root = {f"{path.stem.lower()}.md" for path in ROOT.glob("*.md")}

    assert len(PAGES["README.md"].splitlines()) <= 200
    assert linked == {path.name for path in (*DOCS.glob("*.md"), *DOCS.glob("*.ipynb"))} - {"index.md"} - in_the_root


def test_the_demonstration_board_agrees_with_its_records_and_is_printed_as_the_page_shows_it():
    (board,) = load_results(DEMO).boards.values()
    (shown,) = [block for block in blocks(PAGES["docs/use.md"]) if block.startswith(board.protocol)]

    assert check_pages(DEMO) == []
    assert shown == to_terminal(board)


def execute(path, folder, monkeypatch):
    """Run a notebook in another folder, with nothing of the repository but the demonstration board; return its cells.

    It writes nothing into the repository.
    """
    shutil.copytree(DEMO, folder / "demo")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells


@pytest.mark.slow
def test_the_tour_runs(tmp_path, monkeypatch):
    cells = execute(TOUR, tmp_path, monkeypatch)

    shown = {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= shown  # tables and figures


def test_the_notebook_loads_a_row_attacks_it_and_compares_it_with_a_foreign_network(tmp_path, monkeypatch):
    cells = execute(COMPARING, tmp_path, monkeypatch)

    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    answers = [output["data"]["text/plain"] for output in outputs if "data" in output]
    verdicts_agree, attacked = answers[1], ast.literal_eval(answers[2])
    assert verdicts_agree == "True"
    assert attacked["0/255"] > attacked["64/255"]
    clean, autoattack, health = ast.literal_eval(answers[3])
    assert 0.5 < clean <= 1 and autoattack < clean and health in ("pass", "suspect", "fail")
    printed = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert re.search(r"robust for the row only: \d+, for mine only: \d+, p = ", printed)
    assert "exact McNemar p = " in printed


@pytest.mark.parametrize("path", [TOUR, COMPARING], ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]

    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_the_tables_of_the_automatic_allocation_are_those_that_its_script_computes():
    script = runpy.run_path(str(DOCS / "automatic_allocation.py"))

    for table in script["tables"]():
        assert table in PAGES["docs/automatic-allocation.md"]
