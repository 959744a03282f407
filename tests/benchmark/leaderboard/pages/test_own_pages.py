"""No file that this project did not write is deleted or overwritten, however much it looks like a page."""

from __future__ import annotations

import csv
import shutil

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.formats import GENERATED
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.store import save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
OTHER = "svhn-linf-8_255-aa-standard-100"
COLUMNS = "kind,protocol,preset,rank,"


@pytest.fixture
def folder(make_record, tmp_path):
    """Make a folder with pages of two boards, the records of one of which are gone."""
    for dataset in ("cifar10", "svhn"):
        save_record(make_record(dataset=dataset), tmp_path)
    write_pages(tmp_path)
    shutil.rmtree(tmp_path / "records" / OTHER)
    return tmp_path


def test_the_pages_of_a_board_that_is_gone_are_deleted(folder):
    write_pages(folder)

    assert not [path for path in folder.rglob("*") if OTHER in path.name]
    assert check_pages(folder) == []


def gone(number):
    """Return the name of a board that is not there."""
    return f"svhn-linf-8_255-aa-standard-{number}"


MINE = {
    "notes.md": f"# Mine\n\nEvery page begins with <!-- {GENERATED} -->.\n",
    "remark.md": f"<!-- {GENERATED} --> is how a page begins.\n",
    "copy.md": f"<!-- {GENERATED} -->\n\n# A copy to work on\n",
    f"{gone(1)}.md": f"# Mine\n\n<!-- {GENERATED} -->\n",
    f"{gone(2)}.md": f"\n<!-- {GENERATED} -->\n",
    f"{gone(3)}.tex": f"\\section{{Mine}}\n% {GENERATED}\n",
    f"{gone(3)}.bib": f"@misc{{a}}\n% {GENERATED}\n",
    f"{gone(4)}.json": f'{{"mine": 1, "about": "{GENERATED}"}}\n',
    f"{gone(5)}.json": f'{{\n"about": "{GENERATED}",\n"mine": 1}}\n',
    f"{gone(6)}.csv": f"{COLUMNS}remark\nmeasured,{gone(6)},full,1,mine\n",
    f"{gone(7)}.csv": f"{COLUMNS}remark\n",
    "experiments.csv": f"{COLUMNS}remark\nmine,1,2,3,4\n",
    "summary.json": f'{{\n"about": "{GENERATED}",\n"format": 1\n}}\n',
    "site/notes.html": f"<p>{GENERATED}</p>\n",
    "site/old-front.html": f"<!-- {GENERATED} -->\n<p>kept by hand</p>\n",
    "site/rows/mine.html": f"<!-- {GENERATED} -->\n",
    "site/data.json": f'{{\n"about": "{GENERATED}",\n"format": 1\n}}\n',
}


def test_files_of_the_users_own_survive(folder):
    for name, text in MINE.items():
        (folder / name).write_text(text, encoding="utf-8")

    write_pages(folder)

    assert {name: (folder / name).read_text(encoding="utf-8") for name in MINE if (folder / name).exists()} == MINE


def test_a_copy_of_a_csv_page_under_another_name_and_one_with_other_columns_survive(folder):
    page = (folder / f"{OTHER}.csv").read_text(encoding="utf-8")
    (folder / "copy.csv").write_text(page, encoding="utf-8")
    rows = [[*row, "mine"] for row in csv.reader(page.splitlines())]
    mine = "".join(",".join(row[:3]) + ",mine\n" for row in rows)
    (folder / f"{OTHER}.csv").write_text(mine, encoding="utf-8")

    write_pages(folder)

    assert (folder / "copy.csv").read_text(encoding="utf-8") == page
    assert (folder / f"{OTHER}.csv").read_text(encoding="utf-8") == mine


def test_a_leftover_that_is_no_plain_file_is_left_alone(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "page.md"
    (folder / f"{OTHER}.md").rename(outside)
    (folder / f"{OTHER}.md").symlink_to(outside)
    (folder / f"{OTHER}.tex").unlink()
    (folder / f"{OTHER}.tex").symlink_to("nowhere")
    (folder / f"{OTHER}.bib").unlink()
    (folder / f"{OTHER}.bib").mkdir()

    write_pages(folder)

    assert all((folder / f"{OTHER}.{ending}").is_symlink() for ending in ("md", "tex"))
    assert (folder / f"{OTHER}.bib").is_dir() and outside.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("boards.md", f"# Mine, not {GENERATED}\n"),
        (f"{PROTOCOL}.csv", f"{COLUMNS}remark\nmine,1,2,3,4\n"),
        (f"{PROTOCOL}.json", f'{{"about": "{GENERATED}"}}\n'),
        (f"site/{PROTOCOL}.html", f"<p>{GENERATED}</p>\n"),
    ],
)
def test_what_is_no_page_is_not_overwritten(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match="is not a page of the boards and would be overwritten"):
        write_pages(folder)
    assert (folder / name).read_text(encoding="utf-8") == text


def test_a_page_with_the_ends_of_windows_and_one_of_an_earlier_version_are_overwritten(folder):
    markdown, table = folder / "boards.md", folder / f"{PROTOCOL}.csv"
    markdown.write_bytes(markdown.read_bytes().replace(b"\n", b"\r\n"))
    rows = [row.rsplit(",", 1)[0] for row in table.read_text(encoding="utf-8").splitlines()]
    table.write_text("\n".join(rows), encoding="utf-8")

    assert {markdown, table} <= set(write_pages(folder))
    assert check_pages(folder) == []
