"""Every new state of a board has an entry that says what changed and why; older entries stay as they are."""

from __future__ import annotations

import os
import re

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.challenges import Challenge, challenge_folder
from benchmark.results.store import record_path, save_record

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
HASHES = {"a": "aaaaaa000000", "b": "bbbbbb000000", "c": "cccccc000000", "new": "dddddd000000"}


@pytest.fixture
def save(make_record, tmp_path):
    """Return a function that saves a record of a method, with a hash of its own, and returns its path."""

    def save(method, robust, seed=0, **changes):
        run_hash = f"{HASHES[method][:5]}{seed}000000"
        run = f"cifar10/{method}/seed{seed}-{run_hash[:6]}"
        record = make_record(method=method, seed=seed, run=run, run_hash=run_hash, right=(80, 60, robust), **changes)
        return save_record(record, tmp_path)

    return save


@pytest.fixture
def folder(save, tmp_path):
    """Make a folder with three ranked rows and their pages."""
    for method, robust in (("a", 50), ("b", 40), ("c", 30)):
        save(method, robust)
    write_pages(tmp_path)
    return tmp_path


def entries(folder):
    """Return the entries, newest first, as lists of lines: the heading and what it says."""
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    return [part.splitlines() for part in re.split(r"(?m)^## ", text)[1:]]


def newest(folder):
    """Bring the pages up to date and return the lines of the newest entry."""
    before = entries(folder)
    assert any(problem.startswith("CHANGELOG.md has no entry for ") for problem in check_pages(folder))
    write_pages(folder)
    assert check_pages(folder) == []
    after = entries(folder)
    assert after[1:] == before, "older entries are never rewritten"
    return after[0][1:]


def test_a_new_folder_begins_with_its_first_state(folder):
    ((heading, line),) = entries(folder)
    assert re.fullmatch(rf"2025-01-01 {PROTOCOL} state [0-9a-f]{{12}}", heading)
    assert re.fullmatch(r"- First state [0-9a-f]{12}: 3 rows\.", line)


def test_an_added_row_moves_those_below_it_and_is_their_reason(folder, save):
    save("new", 45)
    assert newest(folder) == [
        "- Added ddddd0 (new, binary, pgd, keep 0.01, p 0.1): robust 45.00, rank 2 of paper, class 30 kB.",
        "- Moved because ddddd0 now ranks above: bbbbb0 rank 2 to 3; ccccc0 rank 3 to 4.",
    ]


def test_a_removed_row_is_reported_and_why_the_others_rose(folder):
    record_path(folder, PROTOCOL, "cifar10/a/seed0-aaaaa0").unlink()
    assert newest(folder) == [
        "- Removed aaaaa0 (a, binary, pgd, keep 0.01, p 0.1).",
        "- Moved because aaaaa0 no longer ranks above: bbbbb0 rank 2 to 1; ccccc0 rank 3 to 2.",
    ]


def test_a_changed_record_and_an_added_seed_are_reported_with_the_accuracy(folder, save):
    save("c", 55)
    assert newest(folder) == [
        "- Changed ccccc0 (c, binary, pgd, keep 0.01, p 0.1): record of seed 0 changed; robust 30.00 to 55.00; "
        "rank 3 to 1.",
        "- Moved because ccccc0 now ranks above: aaaaa0 rank 1 to 2; bbbbb0 rank 2 to 3.",
    ]
    save("b", 42, seed=1)
    assert newest(folder) == [
        "- Changed bbbbb0 (b, binary, pgd, keep 0.01, p 0.1): seed 1 added; robust 40.00 to 41.00."
    ]


def test_another_size_moves_a_row_to_another_class(folder, save):
    save("a", 50, artifact__size_bytes=500)
    changed, moved = newest(folder)
    assert "record of seed 0 changed; from paper, class 30 kB to paper, class 10 kB." in changed
    assert "aaaaa0 no longer ranks above" in moved


def test_a_row_that_is_refused_is_reported_with_its_reason(folder, save):
    save("a", 70)
    first, second = newest(folder)
    assert "record of seed 0 changed; refused, AutoAttack accuracy 0.7000 exceeds PGD accuracy 0.6000" in first
    assert second == "- Moved because aaaaa0 no longer ranks above: bbbbb0 rank 2 to 1; ccccc0 rank 3 to 2."


def test_a_challenge_is_reported_with_its_author(folder, make_record, monkeypatch):
    run = "cifar10/a/seed0-aaaaa0"
    challenge = Challenge(
        schema_version=1,
        run=run,
        protocol=PROTOCOL,
        artifact_sha256="e" * 64,
        images_sha256="f" * 64,
        credit="Jane <b>",
        date="2025-02-03",
        broken=list(range(20)),
    )
    assert challenge_folder(folder, PROTOCOL, run).name == "cifar10__a__seed0-aaaaa0"
    monkeypatch.setattr("benchmark.leaderboard.board.loading.load_challenges", lambda folder: [challenge])

    changed, moved = newest(folder)

    assert entries(folder)[0][0].startswith("2025-02-03 "), "the date of the newest record or challenge"
    assert changed == (
        "- Changed aaaaa0 (a, binary, pgd, keep 0.01, p 0.1): challenge by Jane &#60;b&#62; of 2025-02-03; "
        "robust 50.00 to 30.00; rank 1 to 2."
    )
    assert moved == "- Moved because aaaaa0 no longer ranks above: bbbbb0 rank 2 to 1; ccccc0 rank 3 to 2."


def test_texts_alone_need_no_entry(folder):
    before = entries(folder)
    page = folder / "boards.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Boards", "Tables"), encoding="utf-8")
    write_pages(folder)
    assert entries(folder) == before


def test_a_lost_entry_is_noticed_and_written_again(folder):
    path = folder / "CHANGELOG.md"
    path.write_text(path.read_text(encoding="utf-8").partition("## ")[0], encoding="utf-8")
    assert newest(folder) == ["- No row differs from the page that was there; only its entry was missing."]


def test_a_state_that_comes_back_gets_an_entry_again(folder, save):
    path = save("new", 45)
    newest(folder)
    path.unlink()
    assert len(newest(folder)) == 2
    assert len({heading for heading, *_ in entries(folder)}) == 2 and len(entries(folder)) == 3


def test_a_board_that_is_removed_is_reported_and_may_come_back(folder, save):
    for path in (folder / "records").rglob("*.json"):
        path.unlink()
    assert newest(folder) == [f"- All records of {PROTOCOL} were removed."]
    save("a", 50)
    assert len(newest(folder)) == 1


def test_the_old_page_may_hold_the_lines_of_a_merge_and_rubbish(folder, save):
    page = folder / f"{PROTOCOL}.json"
    lines = page.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if '"id": "bbbbb0"' in line)
    other = row.replace('"rank": 2', '"rank": 9').rstrip(",")
    rubbish = ['{"kind": "measured", "id":', '{"kind": "measured"}', '{"kind": "challenge", "run": [}']
    rubbish += [row.replace('"rank": 2', '"rank": 1e999').rstrip(","), "[" * 100_000, '"\\ud800"']
    merged = ["<<<<<<< ours", *lines, "=======", other, row, *rubbish, ">>>>>>>"]
    page.write_text("\n".join(merged), encoding="utf-8")
    save("new", 45)

    assert newest(folder)[1:] == [
        "- Moved because ddddd0 now ranks above: bbbbb0 rank 2 or 9 to 3; ccccc0 rank 3 to 4.",
    ]


def test_a_changelog_of_somebody_else_is_not_touched(folder):
    (folder / "CHANGELOG.md").write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not the changelog of the boards"):
        write_pages(folder)
    assert (folder / "CHANGELOG.md").read_text(encoding="utf-8") == "# Mine\n"


def test_a_crash_after_the_changelog_loses_no_entry_and_doubles_none(folder, save, monkeypatch):
    save("new", 45)
    replace = os.replace
    done = []

    def crash(source, target):
        if done:
            raise OSError("power cut")
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        write_pages(folder)
    monkeypatch.undo()
    written = entries(folder)
    assert done == [folder / "CHANGELOG.md"] and "Added ddddd0" in written[0][1]
    write_pages(folder)
    assert entries(folder) == written and check_pages(folder) == []


def test_a_row_that_loses_its_first_seed_is_named_after_the_next(folder, save):
    save("b", 42, seed=1)
    newest(folder)
    record_path(folder, PROTOCOL, "cifar10/b/seed0-bbbbb0").unlink()
    assert newest(folder) == [
        "- Changed bbbbb1 (b, binary, pgd, keep 0.01, p 0.1): seed 0 removed; id bbbbb0 to bbbbb1; "
        "robust 41.00 to 42.00."
    ]


def test_a_state_whose_previous_page_is_lost_is_not_called_the_first(folder, save):
    (folder / f"{PROTOCOL}.json").unlink()
    save("new", 45)
    (line,) = newest(folder)
    assert re.fullmatch(
        r"- Unknown changes to state [0-9a-f]{12}: 4 rows\. The page of .* is missing or damaged\.", line
    )


def test_ranks_of_two_branches_are_no_reason(folder, save):
    """A merge left the rows of a branch that never saw this board's: rows that are what they were moved no other."""
    page = folder / f"{PROTOCOL}.json"
    lines = page.read_text(encoding="utf-8").splitlines()
    ranks = {"aaaaa0": 2, "bbbbb0": 1, "ccccc0": 2}  # a was second on its branch, b first on the other
    for row_id, rank in ranks.items():
        place = next(number for number, line in enumerate(lines) if f'"id": "{row_id}"' in line)
        lines[place] = re.sub(r'"rank": \d', f'"rank": {rank}', lines[place])
    page.write_text("\n".join(lines), encoding="utf-8")
    save("new", 10)
    assert newest(folder)[1:] == [
        "- Moved because two branches were merged: aaaaa0 rank 2 to 1.",
        "- Moved because aaaaa0 now ranks above: bbbbb0 rank 1 to 2; ccccc0 rank 2 to 3.",
    ]
