"""The list of figures is read with suspicion, and says which figures no longer fit their records."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.figure_plans.list import FIGURES, LIST, compare_figures, load_figures, outdated_note
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.store import load_records, save_record

REMEDY = "run `python -m benchmark figures`"


def compared(folder):
    return compare_figures(folder, load_results(folder).boards)


def outdated(folder):
    return list(compared(folder).outdated.values())


def problems(folder):
    return list(compared(folder).problems)


def test_a_folder_without_figures_has_none_and_no_problem(tmp_path, make_short):
    for number, keep in ((1, 0.01), (2, 0.1)):
        save_record(make_short(number, keep=keep), tmp_path)
    assert load_figures(tmp_path) == []
    assert (outdated(tmp_path), problems(tmp_path)) == ([], [])


def test_figures_just_drawn_have_no_problem(drawn):
    assert (outdated(drawn), problems(drawn)) == ([], [])


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

    lines = outdated(drawn)

    assert problems(drawn) == []
    assert old.run in {record.run for record in load_records(drawn)}
    assert [line.split()[1].partition("--")[0] for line in lines] == ["front-passes", "front-size", "pruning-rate"]
    assert all(line.endswith("was drawn from other results than those there now") for line in lines)
    assert "(and 2 more)" in outdated_note(compared(drawn).outdated)


def test_the_site_says_which_figures_show_an_earlier_state_and_the_check_passes(drawn, make_short):
    write_pages(drawn)
    assert not any("earlier state" in path.read_text() for path in (drawn / "site").glob("*.html"))
    save_record(make_short(2, right=(80, 50, 39), keep=0.1), drawn)
    notes = []

    write_pages(drawn)
    problems = check_pages(drawn, notes.append)

    assert (problems, len(notes)) == ([], 1) and REMEDY in notes[0]
    assert (drawn / "site" / "index.html").read_text().count("Drawn from an earlier state of the results.") == 3


def test_another_artifact_is_noticed_in_its_masks(drawn, make_short, edit_json):
    (path,) = (drawn / "records").rglob("*000001.json")
    edit_json(path, lambda content: content["artifact"].update(sha256="0" * 64))
    for artifact in (drawn / "artifacts").iterdir():
        artifact.unlink()

    assert [line.split()[1].partition("--")[0] for line in outdated(drawn)] == ["mask", "masks"]


def test_an_edited_caption_and_a_figure_without_results_are_noticed(drawn, edit_json):
    edit_json(drawn / FIGURES / LIST, lambda content: content["figures"][0].update(caption="Ours is best."))
    for path in (drawn / "evaluations").iterdir():
        path.unlink()

    (edited,), (without,) = problems(drawn), outdated(drawn)

    assert edited.startswith("figure front-size") and edited.endswith(f"other words than its results give: {REMEDY}")
    assert without.startswith("figure security--") and without.endswith("has no results any more")


def test_a_figure_that_was_never_drawn_and_a_picture_of_none_are_noticed(drawn, edit_json):
    edit_json(drawn / FIGURES / LIST, lambda content: content["figures"].pop(0))

    (missing,) = outdated(drawn)

    assert missing.startswith("figure front-size") and missing.endswith("was never drawn")
    assert [line.partition(" ")[2] for line in problems(drawn)] == [
        f"belongs to no figure: {REMEDY}, or move the file if it is yours"
    ] * 2


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

    with pytest.raises(UserError, match="is a symbolic link"):
        load_figures(drawn)


def test_figures_are_checked_where_neither_torch_nor_matplotlib_is_installed(drawn):
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'matplotlib', 'scipy', 'pandas']))\n"
        "from pathlib import Path\n"
        "from benchmark.leaderboard.figure_plans.list import compare_figures\n"
        "from benchmark.leaderboard.board.loading import load_results\n"
        "folder = Path(sys.argv[1])\n"
        "print(compare_figures(folder, load_results(folder).boards).problems)\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code, str(drawn)], capture_output=True, text=True)

    assert (result.stdout, result.stderr) == ("()\n", "")
