"""Pages: the same bytes from the same records, nothing foreign gets through, every difference is noticed."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli.main import app
from benchmark.leaderboard.board.reference import load_reported
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.formats import GENERATED
from benchmark.leaderboard.render import check_pages, pages, to_csv, to_markdown, to_terminal, write_pages
from benchmark.results.store import artifact_path, save_record

REFERENCE = Path(__file__).parents[3] / "leaderboards" / "reference"
PROTOCOL = "cifar10-linf-8_255-aa-standard-100"


def only_board(*records):
    (board,) = boards(records).values()
    return board


@pytest.fixture
def folder(make_record, tmp_path):
    """Make a folder with four records on two boards, the reported numbers and up-to-date pages."""
    for record in some_records(make_record):
        save_record(record, tmp_path)
    shutil.copytree(REFERENCE, tmp_path / "reference")
    write_pages(tmp_path)
    return tmp_path


def some_records(make_record):
    return [
        make_record(seed=0),
        make_record(seed=1, right=(82, 52, 46)),
        make_record(method="masked", right=(80, 45, 46)),
        make_record(dataset="svhn", preset="smoke"),
    ]


def sections(text):
    """Map each second-level heading to its body."""
    return dict(part.split("\n", 1) for part in text.split("\n## ")[1:])


ENDINGS = ("bib", "csv", "json", "md", "tex")


def outside_the_site(names):
    return [name for name in names if not name.startswith("site/")]


def test_pages_are_the_five_of_each_board_the_index_the_changelog_and_the_site(folder):
    boards = [
        f"{protocol}.{ending}" for protocol in (PROTOCOL, PROTOCOL.replace("cifar10", "svhn")) for ending in ENDINGS
    ]
    assert sorted(outside_the_site(pages(folder))) == sorted(
        ["CHANGELOG.md", "boards.md", *boards, *(f"paper_tables.{ending}" for ending in ("md", "csv", "tex"))]
    )
    assert {f"site/{name}" for name in ("index.html", "paper.html", f"{PROTOCOL}.html")} < set(pages(folder))
    assert all((folder / name).read_text(encoding="utf-8") == text for name, text in pages(folder).items())


def test_the_order_of_saving_does_not_change_a_byte(make_record, tmp_path):
    for name, order in (("one", 1), ("two", -1)):
        for record in some_records(make_record)[::order]:
            save_record(record, tmp_path / name)
        write_pages(tmp_path / name)
    for page in pages(tmp_path / "one"):
        assert (tmp_path / "one" / page).read_bytes() == (tmp_path / "two" / page).read_bytes()


def test_a_ranked_row_shows_its_numbers_in_percent(make_record):
    text = to_markdown(only_board(make_record()))
    assert (
        f"| 1 | 1 | [3f9a1c](site/rows/{PROTOCOL}/3f9a1c.html) "
        "| edge_popup<sup>1,2</sup> (layers=&#91;1, 2&#93;, scale=0.01) "
        "| binary | yes | resnet34 | 0.01 | 0.1 | pgd | 80.00 | 50.00 | 45.00 | 45.00 | 35.61 to 54.76 "
        "| pass | not checked | not checked | not checked | size, passes | 27.1 kB | 0.01 | 215.6 M | 1 |"
    ) in text
    assert "1. edge_popup clips earlier.\n2. Shared deviation.\n" in text
    assert "100 test images, 10 classes (chance 10.00%)" in text


def test_several_seeds_show_mean_and_deviation(make_record):
    text = to_markdown(only_board(make_record(seed=0), make_record(seed=1, right=(82, 52, 46))))
    assert "| 81.00 | 51.00 | 45.50 | 45.50 ± 0.71 | 36.00 to 55.00 |" in text


def test_a_dense_network_has_no_strategy_and_a_narrow_one_shows_its_width(make_record):
    text = to_markdown(only_board(make_record(compression__keep_ratio=1.0, architecture__width=0.25)))
    assert "| resnet34 width 0.25 | 1 | - | pgd |" in text


def test_reported_numbers_stand_in_their_own_section_and_never_in_the_ranking(folder):
    parts = sections((folder / f"{PROTOCOL}.md").read_text(encoding="utf-8"))
    reported = parts["Reported by the paper's authors (not measured here)"]
    assert reported.count("| resnet34 |") == 28
    assert "| 76.59 | 45.06 |" in reported
    assert "76.59" not in parts["Paper preset: the full schedule of the paper"]
    assert "Reported" not in (folder / f"{PROTOCOL.replace('cifar10', 'svhn')}.md").read_text(encoding="utf-8")


def test_a_reported_row_without_clean_accuracy_leaves_it_open(make_record):
    (board,) = boards([make_record()], load_reported(REFERENCE / "reported_ablations.csv")[:1]).values()
    assert "| edge_popup | binary | yes | resnet34 | 0.5 | 0 | pgd | - | 2.16 | - |" in to_markdown(board)
    reported = list(csv.DictReader(io.StringIO(to_csv(board))))[1]
    assert (reported["kind"], reported["clean"], reported["autoattack"]) == ("reported", "", "0.0216")


def test_a_refused_record_is_shown_with_its_reason(folder):
    refused = sections((folder / f"{PROTOCOL}.md").read_text(encoding="utf-8"))["Refused"]
    assert "masked" in refused
    assert "exceeds PGD accuracy" in refused


def test_foreign_text_shapes_no_page(make_record):
    evil = "a|b<script>x</script>[y](z)`*\\\n# heading\x1b[2J"
    record = make_record(method__name=evil, method__deviations=[evil], method__objective=evil, provenance__device=evil)
    broken = make_record(architecture__name=evil, right=(80, 45, 46), method="masked")
    board = only_board(record, broken)
    text = to_markdown(board)
    assert "<script>" not in text
    assert "&#124;" in text
    assert "\x1b" not in text + to_csv(board) + to_terminal(board)
    assert "# heading" not in [line.strip() for line in text.splitlines()]
    rankings, costs = (
        {line.count("|") for line in part.splitlines() if line.startswith("| ") and "&#124;" in line}
        for part in text.partition("## Refused")[0].split("## Size and cost")
    )
    assert (rankings, costs) == ({24 + 1}, {18 + 1})
    assert len(list(csv.reader(io.StringIO(to_csv(board))))) == 3


def test_no_foreign_text_is_a_formula_in_the_csv(make_record):
    for evil in ("=1+1", "+1", "-1", "@SUM(A1)"):
        (row,) = csv.DictReader(io.StringIO(to_csv(only_board(make_record(method__objective=evil)))))
        assert row["objective"] == f"'{evil}"


def test_the_csv_holds_raw_fractions_and_the_kind_of_each_row(folder):
    with (folder / f"{PROTOCOL}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["measured"] + ["reported"] * 28 + ["refused"]
    assert (rows[0]["robust"], rows[0]["seeds"], rows[0]["n_seeds"]) == ("0.455", "0 1", "2")
    assert (rows[0]["tie"], rows[0]["robust_low"], rows[0]["robust_high"]) == ("1", "0.36", "0.55")
    assert rows[0]["options"] == '{"layers": [1, 2], "scale": 0.01}'
    assert (rows[1]["autoattack"], rows[1]["rank"], rows[1]["tie"], rows[1]["pgd"]) == ("0.4326", "", "", "")
    assert "exceeds PGD" in rows[-1]["note"]


def test_check_is_silent_after_writing_and_writing_again_changes_nothing(folder):
    assert check_pages(folder) == []
    assert write_pages(folder) == []


@pytest.mark.parametrize("page", ["boards.md", *(f"{PROTOCOL}.{ending}" for ending in ENDINGS)])
def test_an_edited_cell_is_noticed_and_mended(folder, page):
    path = folder / page
    path.write_text(path.read_text(encoding="utf-8").replace("1", "2", 1), encoding="utf-8")
    assert check_pages(folder) == [f"{page} differs from its records: run `python -m benchmark leaderboard`"]
    assert write_pages(folder) == [path]
    assert check_pages(folder) == []


def test_a_missing_page_is_noticed(folder):
    (folder / "boards.md").unlink()
    assert check_pages(folder) == ["boards.md is missing: run `python -m benchmark leaderboard`"]


def test_a_deleted_record_is_noticed(folder):
    next((folder / "records" / PROTOCOL).glob("*seed1*")).unlink()
    problems = check_pages(folder)
    of_site = ("site/index.html", f"site/{PROTOCOL}.html", f"site/rows/{PROTOCOL}/3f9a1c.html")
    assert {problem.split()[0] for problem in problems} == {
        "CHANGELOG.md",
        *(f"{PROTOCOL}.{ending}" for ending in ENDINGS),
        *of_site,
    }
    assert all(problem.endswith(": run `python -m benchmark leaderboard`") for problem in problems)
    write_pages(folder)
    assert check_pages(folder) == []


def test_pages_whose_records_are_gone_are_removed_and_hand_written_files_stay(folder):
    (folder / "README.md").write_text("# By hand\n", encoding="utf-8")
    (folder / "notes.csv").write_text("kind,remark\n", encoding="utf-8")
    shutil.rmtree(folder / "records" / PROTOCOL)
    rows = [f"site/rows/{PROTOCOL}/{path.name}" for path in (folder / "site" / "rows" / PROTOCOL).iterdir()]
    stale = [*(f"{PROTOCOL}.{ending}" for ending in ENDINGS), f"site/{PROTOCOL}.html", *sorted(rows)]
    assert check_pages(folder) == [
        f"CHANGELOG.md has no entry for {PROTOCOL}, no rows: run `python -m benchmark leaderboard`",
        "boards.md differs from its records: run `python -m benchmark leaderboard`",
        "site/index.html differs from its records: run `python -m benchmark leaderboard`",
        *(f"{name} has no records: run `python -m benchmark leaderboard`" for name in stale),
    ]
    changed = ["CHANGELOG.md", "boards.md", "site/index.html", *stale]
    assert write_pages(folder) == sorted(folder / name for name in changed)
    assert not any((folder / name).exists() for name in stale)
    assert (folder / "README.md").exists() and (folder / "notes.csv").exists()
    assert check_pages(folder) == []


def test_leftovers_of_the_site_go_with_their_folders_but_never_figures_or_files_of_others(folder):
    marked = f"<!-- {GENERATED} -->\n<!doctype html>\n"
    old = PROTOCOL.replace("cifar10", "gone")
    for name, text in {
        f"rows/{old}/0a1b2c.html": marked,
        f"rows/{PROTOCOL}/by-hand.html": marked,
        "rows/kept/0a1b2c.html": f"<p>mine</p>{marked}",
        "figures/front.svg": marked,
        "assets/old.js": f"// {GENERATED}\n",
    }.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    pages_there = set(pages(folder))
    stale = ["site/assets/old.js", f"site/rows/{old}/0a1b2c.html"]
    assert check_pages(folder) == [f"{name} has no records: run `python -m benchmark leaderboard`" for name in stale]
    assert write_pages(folder) == [folder / name for name in stale]
    left = {path.relative_to(folder).as_posix() for path in (folder / "site").rglob("*") if path.is_file()}
    kept = {f"site/rows/{PROTOCOL}/by-hand.html", "site/rows/kept/0a1b2c.html", "site/figures/front.svg"}
    assert left - pages_there == kept
    assert not (folder / "site" / "assets").exists() and not (folder / "site" / "rows" / old).exists()


def test_pages_may_lie_in_folders_and_the_command_names_only_those_at_the_top(folder, monkeypatch):
    of_site = {f"site/rows/{PROTOCOL}/{number}.html": f"<!-- {GENERATED} -->" for number in range(3)}
    monkeypatch.setattr("benchmark.leaderboard.render.readme_page", lambda *_: of_site)
    (folder / "boards.md").unlink()
    result = CliRunner().invoke(app, ["leaderboard", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.output == f"wrote {folder / 'boards.md'}\n{folder}: 4 pages changed\n"
    assert all((folder / name).read_text(encoding="utf-8") == text for name, text in of_site.items())


def test_the_check_fails_with_one_sentence_a_page(folder):
    next((folder / "records" / PROTOCOL).glob("*seed1*")).unlink()
    result = CliRunner().invoke(app, ["leaderboard", "--check", "--out", str(folder)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) > 6 and all(line.endswith(": run `python -m benchmark leaderboard`") for line in lines)


def test_pages_do_not_depend_on_the_locale_or_on_the_order_of_the_files(folder):
    """In a process of its own, with another locale, hash seed and order of directories."""
    code = (
        "import hashlib, json, os, pathlib, random, sys\n"
        "scan = os.scandir\n"
        "def shuffled(path):\n"
        "    entries = list(scan(path)); random.shuffle(entries)\n"
        "    class Entries(list):\n"
        "        __enter__ = lambda self: self\n"
        "        __exit__ = lambda self, *details: None\n"
        "    return Entries(entries)\n"
        "os.scandir = shuffled\n"
        "from benchmark.leaderboard.render import check_pages\n"
        "sys.exit(len(check_pages(pathlib.Path(sys.argv[1]))))\n"
    )
    for locale, seed in (("C", "1"), ("tr_TR.UTF-8", "2")):
        environment = os.environ | {"LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONUTF8": "0"}
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)


def test_the_index_leads_to_every_page(folder):
    linked = re.findall(r"\]\(([^)]+)\)", (folder / "boards.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted({*outside_the_site(pages(folder))} - {"boards.md"})


def test_each_size_class_has_a_heading_and_a_ranking_of_its_own(make_record):
    sizes = {"big": 50_000_000, "small": 9_000, "worse": 9_500}
    records = [
        make_record(method=name, right=(80, 60, robust), artifact__size_bytes=sizes[name])
        for name, robust in (("big", 50), ("small", 40), ("worse", 30))
    ]
    text = to_markdown(only_board(*records)).partition("## Size and cost")[0]
    ranked = [
        line if line.startswith("###") else " ".join(line.split(" | ")[:1] + line.split(" | ")[3:4]).strip("| ")
        for line in text.splitlines()
        if line.startswith("### ") or "site/rows/" in line
    ]
    assert [line.partition("<sup>")[0] for line in ranked] == [
        *("### Up to 10 kB", "1 small", "2 worse", "### Above 30 MB", "1 big"),
    ]


def test_an_empty_folder_gets_an_index_that_says_so(tmp_path):
    write_pages(tmp_path / "new")
    assert "There are no records yet." in (tmp_path / "new" / "boards.md").read_text(encoding="utf-8")


def test_the_terminal_tells_each_choice_of_options_once_below_its_table(make_record):
    records = [
        make_record(method=name, method__options=options, right=(80, 50, count))
        for name, options, count in (
            ("a", {"lr": 0.1}, 45),
            ("b", {}, 44),
            ("c", {"lr": 0.2}, 43),
            ("d", {"lr": 0.1}, 42),
        )
    ]
    lines = to_terminal(only_board(*records)).splitlines()
    assert lines[3] == "up to 30 kB:"
    assert [re.search(r" ([a-d](?: \[\d\])?) +binary ", line)[1] for line in lines[4:8]] == [
        "a [1]",
        "b",
        "c [2]",
        "d [1]",
    ]
    assert lines[8:10] == ["[1] lr=0.1", "[2] lr=0.2"]


def test_the_terminal_names_every_network_and_fits_its_width(make_record):
    records = [
        make_record(),
        make_record(method="hydra", architecture__name="resnet18", architecture__width=0.25, preset="smoke"),
        make_record(method="a_method_with_an_unusually_long_name", right=(70, 30, 20)),
        make_record(method="masked", right=(80, 45, 46)),
    ]
    text = to_terminal(only_board(*records))
    assert f"{PROTOCOL}, resnet34, paper preset, 100 test images, chance 10.00%" in text
    assert f"{PROTOCOL}, resnet18 width 0.25, smoke preset" in text
    shown = " ".join(text.split())
    assert " edge_popup [1] binary yes 0.01 0.1 pgd 80.00 50.00 45.00 35.61 to 54.76 pass* 27.1 kB 1 " in shown
    assert re.search(r" a_method_w\w+ \[1\] binary ", shown)
    assert "[1] layers=[1, 2], scale=0.01" in text
    assert "95% interval: Of robust accuracy" in shown
    assert "refused: cifar10/resnet34-lbn/masked" in text
    assert max(len(line) for line in text.splitlines()) <= 118


def test_a_row_whose_artifact_was_edited_is_refused(make_record, tmp_path):
    record = make_record()
    save_record(record, tmp_path)
    write_pages(tmp_path)
    artifact_path(tmp_path, record.run).parent.mkdir()
    artifact_path(tmp_path, record.run).write_bytes(b"other")
    assert any("differs from its records" in problem for problem in check_pages(tmp_path))
    write_pages(tmp_path)
    page = (tmp_path / f"{record.protocol}.md").read_text(encoding="utf-8")
    assert "its artifact has 5 bytes, the record was measured on one of 27,100" in page.partition("## Refused")[2]
