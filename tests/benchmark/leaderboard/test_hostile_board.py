"""A folder of results that a stranger has filled: no link is followed, no pipe opened, nothing written elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli.main import app
from benchmark.errors import UserError
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.rechecks import rechecked_path, save_rechecked
from benchmark.results.store import artifact_path, record_path, save_record

REFERENCE = Path(__file__).parents[3] / "leaderboards" / "reference"
PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
SITE = f"site/{PROTOCOL}.html"
FILES = {
    "record": "records/RECORD",
    "artifact": "artifacts/ARTIFACT",
    "evaluation": "evaluations/0.json",
    "checks": "checks/RECORD",
    "published tables": "reference/reported_tables.csv",
    "published ablations": "reference/reported_ablations.csv",
    "questions": "claims.yaml",
    "changelog": "CHANGELOG.md",
    "board": f"{PROTOCOL}.md",
    "former board": f"{PROTOCOL}.json",
    "page of the site": SITE,
    "style": "site/style.css",
    "list of figures": "site/figures/figures.json",
    "README": "../README.md",
}
FOLDERS = (
    "records",
    f"records/{PROTOCOL}",
    "artifacts",
    "evaluations",
    "checks",
    f"checks/{PROTOCOL}",
    "reference",
    "site",
    "site/rows",
    "site/figures",
)


@pytest.fixture(scope="module")
def whole(make_record, make_rechecked, tmp_path_factory):
    """Make a folder with a file of every kind, in a folder that holds a README."""
    folder = tmp_path_factory.mktemp("around") / "board"
    record = make_record()
    save_record(record, folder)
    save_rechecked(make_rechecked(record, [0]), folder)
    shutil.copytree(REFERENCE, folder / "reference")
    artifact_path(folder, record.run).parent.mkdir()
    artifact_path(folder, record.run).write_bytes(bytes(record.artifact.size_bytes))
    (folder / "claims.yaml").write_text("claims: []\n", encoding="utf-8")
    (folder / "evaluations").mkdir()
    write_pages(folder)
    (folder / "site" / "figures").mkdir()
    (folder / "site" / "figures" / "figures.json").write_text('{"schema_version": 1, "figures": []}', encoding="utf-8")
    (folder.parent / "README.md").write_text("# Mine\n", encoding="utf-8")
    return folder, record


@pytest.fixture
def board(whole, tmp_path):
    """Copy that folder; return it and the place of a file of each kind."""
    folder, record = whole
    shutil.copytree(folder.parent, tmp_path / "around")
    copy = tmp_path / "around" / "board"
    names = {
        "records/RECORD": record_path(copy, PROTOCOL, record.run),
        "checks/RECORD": rechecked_path(copy, PROTOCOL, record.run),
        "artifacts/ARTIFACT": artifact_path(copy, record.run),
    }
    return copy, {kind: names.get(name) or Path(os.path.normpath(copy / name)) for kind, name in FILES.items()}


def content_of(folder):
    """Return what lies in a folder, without following links."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


def refusal(folder, *functions):
    """Return the sentence with which every function refuses a folder, all with the same one."""
    sentences = set()
    for function in functions:
        with pytest.raises(UserError) as caught:
            function(folder)
        sentences.add(str(caught.value))
    (sentence,) = sentences
    assert "\n" not in sentence
    return sentence


def plant(what, place, outside):
    """Put something else in the place of a file."""
    if what == "link":
        place.symlink_to(outside)
    elif what == "dangling link":
        place.symlink_to(outside.with_name("nowhere"))
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.touch()
        os.truncate(place, 2**31)  # without a byte on the disk


REASONS = {
    "link": "is a symbolic link, which is not allowed below",
    "dangling link": "is a symbolic link, which is not allowed below",
    "pipe": "is a pipe, not a regular file; remove it",
    "folder": "is a folder, not a regular file; remove it",
    "huge": "has 2,147,483,648 bytes, but at most",
}


@pytest.mark.hangs_after(100)
@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_plain_file_of_a_sensible_size_is_named_and_not_read(board, tmp_path, kind):
    folder, places = board
    place, outside = places[kind], tmp_path / "outside"
    outside.write_bytes(b"{}")
    place.unlink(missing_ok=True)
    before = content_of(tmp_path)
    for what, reason in REASONS.items():
        if what == "folder" and kind in ("record", "evaluation", "checks"):
            continue  # a folder of that name holds no record
        plant(what, place, outside)

        sentence = refusal(folder, check_pages, write_pages)

        assert f"{place} {reason}" in sentence
        assert what == "huge" or content_of(tmp_path) == before
        assert not (tmp_path / "nowhere").exists()
        place.rmdir() if what == "folder" else place.unlink()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_a_link_is_named_and_nothing_is_written_behind_it(board, tmp_path, name):
    folder, _ = board
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    (folder / "boards.md").unlink()
    before = content_of(tmp_path)

    assert f"{folder / name} is a symbolic link" in refusal(folder, check_pages, write_pages)
    assert content_of(tmp_path) == before


def test_a_page_that_is_missing_is_not_written_through_a_dangling_link(board, tmp_path):
    folder, _ = board
    shutil.rmtree(folder / "site")
    (folder / "site").symlink_to(tmp_path / "nowhere")

    assert "site is a symbolic link" in refusal(folder, write_pages)
    assert not (tmp_path / "nowhere").exists()


def test_the_command_says_so_in_one_sentence_and_exits_with_2(board):
    folder, places = board
    places["record"].unlink()
    places["record"].symlink_to("/etc/passwd")

    found = CliRunner().invoke(app, ["leaderboard", "--out", str(folder)])

    assert isinstance(found.exception, UserError) and "root:" not in str(found.exception)


def test_a_folder_of_results_may_be_a_link_itself(board, tmp_path):
    folder, _ = board
    (tmp_path / "runs").symlink_to(folder)
    (folder / "boards.md").unlink()

    assert tmp_path / "runs" / "boards.md" in write_pages(tmp_path / "runs")
    assert check_pages(tmp_path / "runs") == []
    assert (folder / "boards.md").is_file()


def test_the_locks_of_an_editor_are_passed_over(board):
    folder, places = board
    (places["record"].parent / ".#record.json").symlink_to("me@here.1234")

    assert check_pages(folder) == []
