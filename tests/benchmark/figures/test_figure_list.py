"""The list of figures is read with suspicion, and says which figures no longer fit their records."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.figure_list import FIGURES, LIST, figure_problems, load_figures
from benchmark.results.store import load_records, save_record

REMEDY = "run `python -m benchmark figures`"


def problems(folder):
    return figure_problems(folder, load_records(folder))


def test_a_folder_without_figures_has_none_and_no_problem(tmp_path, make_short):
    assert load_figures(tmp_path) == []
    assert figure_problems(tmp_path, [make_short(1), make_short(2, keep=0.1)]) == []


def test_figures_just_drawn_have_no_problem(drawn):
    assert problems(drawn) == []


def test_an_edited_and_a_missing_picture_are_named(drawn):
    first, second = load_figures(drawn)[:2]
    with (drawn / FIGURES / first.svg).open("a") as file:
        file.write(" ")
    (drawn / FIGURES / second.png).unlink()

    assert problems(drawn) == [
        f"figure {second.png} is missing: {REMEDY}",
        f"figure {first.svg} is another file than the one drawn: {REMEDY}",
    ]


def test_a_changed_record_is_noticed_in_the_figures_that_show_it(drawn, make_short):
    (old,) = [record for record in load_records(drawn) if record.run_hash.startswith("000002")]
    save_record(make_short(2, right=(80, 50, 39), keep=0.1), drawn)

    told = problems(drawn)

    assert old.run in {record.run for record in load_records(drawn)}
    assert [line.split()[1].partition("--")[0] for line in told] == ["front-passes", "front-size", "pruning-rate"]
    assert all(line.endswith(f"was drawn from other results than those there now: {REMEDY}") for line in told)


def test_another_artifact_is_noticed_in_its_masks(drawn, make_short, edit_json):
    (path,) = (drawn / "records").rglob("*000001.json")
    edit_json(path, lambda content: content["artifact"].update(sha256="0" * 64))
    for artifact in (drawn / "artifacts").iterdir():
        artifact.unlink()

    assert [line.split()[1].partition("--")[0] for line in problems(drawn)] == ["mask", "masks"]


def test_an_edited_caption_and_a_figure_without_results_are_noticed(drawn, edit_json):
    edit_json(drawn / FIGURES / LIST, lambda content: content["figures"][0].update(caption="Ours is best."))
    for path in (drawn / "evaluations").iterdir():
        path.unlink()

    told = problems(drawn)

    assert [line.partition("figure ")[2][:10] for line in told] == ["front-size", "security--"]
    assert told[1].endswith(f"has no results any more: {REMEDY}")


def test_a_figure_that_was_never_drawn_and_a_picture_of_none_are_noticed(drawn, edit_json):
    edit_json(drawn / FIGURES / LIST, lambda content: content["figures"].pop(0))

    told = problems(drawn)

    assert told[0].startswith("figure front-size") and "was never drawn" in told[0]
    assert [line.partition(" ")[2] for line in told[1:]] == [f"belongs to no figure: {REMEDY}"] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"png": "../../../secret.png"},
        {"name": "../x", "png": "../x.png", "svg": "../x.svg"},
        {"svg": "other.svg"},
        {"png_sha256": "short"},
        {"surprise": 1},
    ],
)
def test_a_list_that_names_other_files_is_refused(drawn, edit_json, change):
    edit_json(drawn / FIGURES / LIST, lambda content: content["figures"][0].update(change))

    with pytest.raises(UserError, match=r"figures\.json.*python -m benchmark figures"):
        load_figures(drawn)


def test_two_figures_of_one_name_and_no_json_are_refused(drawn, edit_json):
    path = drawn / FIGURES / LIST
    edit_json(path, lambda content: content["figures"].append(content["figures"][0]))
    with pytest.raises(UserError, match="two figures have one name"):
        load_figures(drawn)

    path.write_text("{")
    with pytest.raises(UserError, match=r"figures\.json"):
        load_figures(drawn)


def test_a_link_out_of_the_folder_is_refused(drawn, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    picture = drawn / FIGURES / load_figures(drawn)[0].png
    picture.unlink()
    picture.symlink_to(outside)

    with pytest.raises(UserError, match="leads outside"):
        load_figures(drawn)


def test_figures_are_checked_where_neither_torch_nor_matplotlib_is_installed(drawn):
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'matplotlib', 'scipy', 'pandas']))\n"
        "from pathlib import Path\n"
        "from benchmark.leaderboard.figure_list import figure_problems\n"
        "from benchmark.results.store import load_records\n"
        "folder = Path(sys.argv[1])\n"
        "print(figure_problems(folder, load_records(folder)))\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code, str(drawn)], capture_output=True, text=True)

    assert (result.stdout, result.stderr) == ("[]\n", "")
