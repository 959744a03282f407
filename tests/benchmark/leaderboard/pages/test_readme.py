"""The README's tables are made from the boards, between markers, and nothing else in it is touched."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.pages.readme import SHOWN
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.store import save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
BEGIN, END = f"<!-- begin table: boards {PROTOCOL} -->", "<!-- end table -->"


@pytest.fixture
def folder(make_record, tmp_path):
    """Make a folder called boards with rows of two presets and two classes of size."""
    for preset, method, size in (("paper", "at", 5_000), ("paper", "hydra", 50_000), ("own", "atmc", 5_000)):
        save_record(make_record(preset=preset, method=method, artifact__size_bytes=size), tmp_path / "boards")
    return tmp_path / "boards"


def readme(folder, text=None):
    """Return what the README beside the folder holds, after writing `text` into it."""
    path = folder.parent / "README.md"
    if text is not None:
        path.write_bytes(text.encode("utf-8"))
    return path.read_bytes().decode("utf-8")


def test_the_table_stands_between_the_markers_with_links_to_the_board(folder):
    readme(folder, f"# Title\r\n\n{BEGIN}\nold\n{END}\n\nrest without an end of line")
    assert [problem for problem in check_pages(folder) if "README" in problem] == [
        "../README.md differs from its records: run `python -m benchmark leaderboard`"
    ]
    write_pages(folder)
    text = readme(folder)

    assert text.startswith(f"# Title\r\n\n{BEGIN}\n\nPaper preset, 100 test images:\n\n| size class | rank | tie |")
    assert text.endswith(f"(boards/{PROTOCOL}.md).\n\n{END}\n\nrest without an end of line") and "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| up to ")]
    assert [row.split(" | ")[4] for row in rows] == ["at", "hydra", "atmc"]
    assert f"(boards/site/rows/{PROTOCOL}/" in rows[0]
    assert check_pages(folder) == [] and write_pages(folder) == []
    readme(folder, text.replace("45.00", "54.00", 1))
    assert check_pages(folder) == ["../README.md differs from its records: run `python -m benchmark leaderboard`"]


def test_of_many_rows_the_best_of_every_class_are_shown(make_record, tmp_path):
    for number in range(30):
        size = 5_000 if number % 10 else 50_000
        record = make_record(
            method=f"m{number:02}",
            run=f"m{number:02}/seed0-{number:06x}",
            run_hash=f"{number:06x}000000",
            right=(80, 60, number + 20),
            artifact__size_bytes=size,
        )
        save_record(record, tmp_path / "boards")
    readme(tmp_path / "boards", f"{BEGIN}\n{END}\n")
    write_pages(tmp_path / "boards")
    text = readme(tmp_path / "boards")
    rows = [line for line in text.splitlines() if line.startswith("| up to ")]

    assert len(rows) == SHOWN
    assert [row.split(" | ")[4] for row in rows if "100 kB" in row] == ["m20", "m10", "m00"]
    assert [row.split(" | ")[4] for row in rows if "10 kB" in row][:3] == ["m29", "m28", "m27"]
    assert f"The best {SHOWN} of 30 rows." in text


def test_answered_questions_stand_between_markers_of_their_own(folder):
    asked = "".join(
        f"  - {{question: 'Is {a} ahead?', protocol: {PROTOCOL}, a: /{a}/, b: hydra}}\n" for a in ("at", "atmc", "rst")
    )
    (folder / "claims.yaml").write_text(f"claims:\n{asked}", encoding="utf-8")
    readme(folder, f"{BEGIN.replace('table', 'claims')}\nold\n{END}\nrest\n")
    write_pages(folder)
    text = readme(folder)

    lines = [line for line in text.splitlines() if line.startswith("| Is ")]
    assert [line.split(" | ")[0] for line in lines] == ["| Is at ahead?", "| Is atmc ahead?"]  # rst has no row
    assert all(line in (folder / "claims.md").read_text(encoding="utf-8") for line in lines)
    assert text.endswith(f"[claims.md](boards/claims.md).\n\n{END}\nrest\n") and "old" not in text
    assert check_pages(folder) == []


def test_without_answers_the_readme_says_so(folder):
    readme(folder, f"{BEGIN.replace('table', 'claims')}\n{END}\n")
    write_pages(folder)

    assert "No question to this board has an answer yet." in readme(folder)


@pytest.mark.parametrize("text", ["# Nothing\n", f"{BEGIN.replace('boards', 'others')}\nold\n{END}\n"])
def test_a_readme_without_a_table_of_this_folder_is_left_alone(folder, text):
    readme(folder, text)
    write_pages(folder)
    assert readme(folder) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{BEGIN.replace('100', '200')}\n{END}\n", "there is no board 'cifar10-linf-8_255-aa-standard-200'.*Did you"),
        (f"{BEGIN}\nold\n", "has no end; write <!-- end table -->"),
        (f"{BEGIN}\n{BEGIN}\n{END}\n", "has no end; write <!-- end table -->"),
    ],
    ids=["unknown", "unended", "begun twice"],
)
def test_a_wrong_marker_is_one_sentence_and_nothing_is_written(folder, text, sentence):
    readme(folder, text)
    for command in (write_pages, check_pages):
        with pytest.raises(UserError, match=sentence):
            command(folder)
    assert readme(folder) == text
    assert not (folder / "boards.md").exists()
