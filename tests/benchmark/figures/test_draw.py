"""The pictures: written, the same every time, and legible as far as a machine can tell."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from typer.testing import CliRunner

from benchmark import __main__
from benchmark.figures.ablations import draw_rates, draw_sizes
from benchmark.figures.axes import label_points, with_prefix
from benchmark.figures.draw import draw_figures
from benchmark.figures.fronts import draw_front
from benchmark.figures.lines import draw_training
from benchmark.figures.masks import BLUE, BOTH, ORANGE, RULE, WHITE, bar_image, mask_image
from benchmark.figures.style import drawable, house_style, looks, new_figure, to_png
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.figure_plans.boards import plan_figures
from benchmark.leaderboard.figure_plans.data import Plan, RateData, RatePoint, RateSeries, TrainingData, TrainingPanel
from benchmark.leaderboard.figure_plans.list import FIGURES, load_figures
from benchmark.leaderboard.figure_plans.size_data import SizeData, SizePoint, SizeSeries
from benchmark.leaderboard.ticks import log_ticks
from benchmark.results.store import artifact_path


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / FIGURES).iterdir()}


def test_every_kind_of_figure_is_drawn_and_listed(drawn):
    figures = load_figures(drawn)

    assert [figure.name.partition("--")[0] for figure in figures] == [
        *("front-size", "front-passes", "security", "pruning-rate", "score-scale", "training", "mask", "masks"),
        "pruning-rate-reported",
    ]
    assert {*contents(drawn)} == {name for figure in figures for name in (figure.png, figure.svg)} | {"figures.json"}
    assert all(figure.title and figure.caption and figure.numbers for figure in figures)


def test_pictures_have_twice_the_resolution_of_700_pixels_and_no_date(drawn):
    for figure in load_figures(drawn):
        with Image.open(drawn / FIGURES / figure.png) as image:
            assert "mask" in figure.name or image.width == 1400
            assert image.info.keys() <= {"dpi"}
        text = (drawn / FIGURES / figure.svg).read_text(encoding="utf-8")
        assert "<metadata" not in text
        assert "image-rendering" not in text  # a browser would leave pixels of a mask out
        assert "<text" not in text  # letters are shapes: no font of the reader's is asked for
        assert not re.search(r"\b(href|src)=\"(?!#|data:)", text)


def test_the_same_results_give_the_same_bytes_whatever_a_user_sets_or_breaks(drawn, fill_folder, tmp_path):
    again = tmp_path / "again"
    fill_folder(again)
    (again / FIGURES).mkdir(parents=True)
    (again / FIGURES / "figures.json").write_text("{}")
    before, lines = dict(matplotlib.rcParams), []
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "savefig.dpi": 10, "svg.hashsalt": "mine"}):
        draw_figures(again, lines.append)

    assert "all figures are drawn again" in lines[0]
    assert len(load_figures(again)) == 9
    assert contents(again) == contents(drawn)
    assert dict(matplotlib.rcParams) == before


def test_a_second_run_writes_nothing_and_removes_only_pictures_that_were_drawn_here(drawn):
    folder = drawn / FIGURES
    listed = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    drawn_before = {"old.png": b"png", "old.svg": b"<svg/>", "edited.png": b"png", "edited.svg": b"<svg/>"}
    for name in ("old", "edited"):
        hashes = {
            f"{kind}_sha256": hashlib.sha256(drawn_before[f"{name}.{kind}"]).hexdigest() for kind in ("png", "svg")
        }
        files = {kind: f"{name}.{kind}" for kind in ("png", "svg")}
        listed["figures"].append({**listed["figures"][0], "name": name, **files, **hashes})
    (folder / "figures.json").write_text(json.dumps(listed), encoding="utf-8")
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "figures.json"}
    mine = {"mine.png": b"mine", "edited.svg": b"<svg>mine</svg>"}
    for name, content in {**drawn_before, **mine}.items():
        (folder / name).write_bytes(content)
    lines = []

    draw_figures(drawn, lines.append)

    left = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "figures.json"}
    assert {path: left.pop(path) for path in times} == times
    assert {path.name: path.read_bytes() for path in left} == mine
    assert {line for line in lines if "removed" in line} == {
        f"removed site/figures/{name}, it belongs to no figure" for name in ("old.png", "old.svg", "edited.png")
    }
    assert "kept site/figures/mine.png, which was not drawn here; move it to another folder" in lines
    assert sum("unchanged" in line for line in lines) == 9
    assert not [line for line in lines if "wrote" in line]


def test_a_mask_whose_artifact_is_elsewhere_stays_or_is_left_out_with_the_reason(drawn):
    before = contents(drawn)
    (run,) = {figure.run for figure in load_figures(drawn) if figure.run}
    artifact_path(drawn, run).unlink()
    kept, missing = [], []

    draw_figures(drawn, kept.append)
    after = contents(drawn)
    shutil.rmtree(drawn / FIGURES)
    draw_figures(drawn, missing.append)

    assert after == before
    assert sum("its artifact is not here" in line for line in kept) == 2
    assert sum(line.startswith("skipped: mask") and "fetch it" in line for line in missing) == 2
    assert not [figure for figure in load_figures(drawn) if figure.run]


def test_without_matplotlib_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "figures", "--out", str(tmp_path)])

    with pytest.raises(SystemExit) as stopped:
        __main__.main()

    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "error: figures need matplotlib, which is not installed; install it with `pip install -e '.[figures]'`.\n"
    )


def test_the_command_says_why_there_is_nothing_to_draw(tmp_path, make_short):
    from benchmark.results.store import save_record

    save_record(make_short(1), tmp_path)

    result = CliRunner().invoke(__main__.app, ["figures", "--out", str(tmp_path)])

    assert result.exit_code == 1
    assert "single row" in result.output
    assert "nothing to draw" in result.output


def test_names_with_markup_and_foreign_letters_are_drawn_as_they_are(make_short):
    method = "$\\frac{1}{$\n漢<b>"
    rows = [make_short(1, method__name=method, run="a/b/c/seed0-000001"), make_short(2, keep=0.1)]
    plans, _ = plan_figures(boards(rows), (), ())

    with house_style():  # a warning would be an error here
        figure = draw_front(plans[0], plans[0].data)
        assert to_png(figure)

    assert drawable(method) == "$\\frac{1}{$ ?<b>"
    assert len(drawable("x" * 500)) == 60


def test_labels_touch_neither_each_other_nor_what_is_in_the_way():
    with house_style():
        figure = new_figure(3)
        axes = figure.add_subplot()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        figure.draw_without_rendering()
        points = [(f"label{number}", 0.5, 0.5) for number in range(40)]
        homeless = label_points(axes, points, [])
        boxes = [Text.get_window_extent(text) for text in axes.texts]

    # One that stands away from its point is tied to it by a line; a line may cross other labels.
    assert {bool(text.arrow_patch) for text in axes.texts} == {True, False}
    assert all(bool(text.arrow_patch) == (math.hypot(*text.xyann) > 10) for text in axes.texts)
    assert 3 <= len(boxes) == 40 - len(homeless)
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (900, 2e6, [1e3, 1e4, 1e5, 1e6]),
        (2_000, 90_000, [3e3, 1e4, 3e4]),
        (30_000, 120_000, [3e4, 4e4, 5e4, 7e4, 1e5]),
        (41_000, 47_500, [42e3, 44e3, 46e3]),
        (155_400, 164_800, [156e3, 158e3, 160e3, 162e3, 164e3]),
    ],
)
def test_ticks_are_round_and_at_least_three_and_written_apart(low, high, expected):
    assert log_ticks(low, high) == pytest.approx(expected)
    assert len({with_prefix(tick, "B") for tick in expected}) == len(expected)


def test_ticks_are_written_with_prefixes():
    assert [with_prefix(value, "B") for value in (500, 3e4, 1.5e6)] == ["500 B", "30 kB", "1.5 MB"]
    assert with_prefix(2e5, "") == "200 k"


def test_every_built_in_method_looks_the_same_in_every_figure_and_unlike_the_others():
    alone, together = looks(["hydra"]), looks(["at", "hydra", "mine", "atmc"])

    assert alone["hydra"] == together["hydra"]
    assert len(set(together.values())) == 4


def test_a_mask_is_drawn_weight_by_weight():
    mask = np.zeros((2, 3, 3, 3), bool)
    mask[0, 1, 2, 0] = True

    image = mask_image(mask, 2)

    assert image.shape == (2 * 7 + 1, 3 * 7 + 1, 3)
    blue = np.argwhere((image == BLUE).all(axis=2))
    assert blue.tolist() == [[5, 8], [5, 9], [6, 8], [6, 9]]
    assert tuple(image[0, 0]) == tuple(image[7, 7]) == RULE
    assert tuple(image[1, 8]) == WHITE  # a kernel's other weights
    assert tuple(image[1, 1]) == tuple(image[8, 8]) == ORANGE
    assert tuple(image[8, 1]) == BOTH


def test_a_bar_is_white_where_a_channel_is_empty():
    bar = bar_image(np.array([True, False]), 2, upright=True)

    assert tuple(bar[3, 5]) == WHITE
    assert tuple(bar[10, 5]) == BLUE
    assert bar_image(np.array([True, False]), 2, upright=False).shape == (bar.shape[1], bar.shape[0], 3)


def test_points_of_many_exponents_stay_near_their_pruning_rate():
    ratios = (0.002, 0.005, 0.01, 0.5)
    points = tuple(RatePoint(ratio, 0.4, 0.39, 0.41) for ratio in ratios)
    data = RateData(tuple(RateSeries(f"{p}", points) for p in range(7)), "robust accuracy", 0.1, reported=False)
    plan = Plan("a", "A", "", None, None, (), data)

    (axes,) = draw_rates(plan, data).axes

    drawn = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == len(ratios) and line.get_color()]
    places = [-math.log10(ratio) for ratio in ratios]
    apart = min(before - after for before, after in pairwise(places))
    assert len(drawn) >= 7
    assert max(abs(x - place) for line in drawn for x, place in zip(line, places, strict=True)) <= 0.21 * apart


def test_file_sizes_have_a_line_for_each_granularity():
    lines = {"kernel": ((9_000, 0.02), (19_000, 0.2)), "weight": ((13_000, 0.02), (42_000, 0.2))}
    series = tuple(
        SizeSeries(name, tuple(SizePoint(size, keep, 0.4, 0.39, 0.41) for size, keep in points))
        for name, points in lines.items()
    )
    data = SizeData(series, "robust accuracy", 0.1)

    (axes,) = draw_sizes(Plan("a", "A", "", None, None, (), data), data).axes

    drawn = [list(line.get_xdata()) for line in axes.lines]
    assert [9_000, 19_000] in drawn and [13_000, 42_000] in drawn
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts if text.get_text() in ("0.02", "0.2")] == ["0.02", "0.2"] * 2


def test_the_mark_of_a_last_epoch_is_whole():
    panel = TrainingPanel("a", "pgd, LBN", "at", (("train", 1, 400),), (1, 400), (0.4, 0.5), (0.7, 0.8), (400,))
    data = TrainingData((panel,), 0.1)
    axes = draw_training(Plan("a", "A", "", None, None, (), data), data).axes[0]
    (mark,) = [line for line in axes.lines if line.get_marker() == "v"]
    assert not mark.get_clip_on()
