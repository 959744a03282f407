"""`audit --since` looks at everything that changed since a commit, and at nothing else."""

from __future__ import annotations

import json
import os

import pytest

from benchmark.errors import UserError


@pytest.fixture(autouse=True)
def _no_attacks(monkeypatch):
    """Attacks on networks are tested elsewhere."""
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)


def test_a_board_as_it_was_has_nothing_to_check(board):
    result = board.audit("--since", "HEAD")

    assert result.exit_code == 0
    assert result.output == "\nnothing on the board changed\n"


def test_a_new_row_is_checked_with_its_pages_and_the_changelog(board):
    record, artifact = board.records[1], board.artifact(1)
    contents = {path: path.read_bytes() for path in (record, artifact)}
    for path in contents:
        path.unlink()
    board.leaderboard()
    board.commit()
    for path, content in contents.items():
        path.write_bytes(content)
    board.leaderboard()

    result = board.audit("--since", "HEAD")

    assert result.exit_code == 0, result.output
    assert "1 record, 0 evaluations, 0 challenges, 0 checks: all pass" in result.output
    assert "ok       CHANGELOG.md: its new entries follow from the records" in result.output

    path = board.folder / "CHANGELOG.md"
    path.write_text(path.read_text(encoding="utf-8").replace("\n- ", "\n- Ada says: ", 1), encoding="utf-8")

    assert "CHANGELOG.md: it has entries for several states, or entries that" in board.refusals("--since", "HEAD")


def test_a_changed_record_is_checked_whether_committed_or_not(board):
    fields = board.read()
    fields["dataset"]["test_sha256"] = "0" * 64
    board.write(fields)

    assert "data: test_sha256 is 000000000000" in board.refusals("--since", "HEAD")

    board.commit()

    assert "data: test_sha256 is 000000000000" in board.refusals("--since", "HEAD~1")
    assert board.audit("--since", "HEAD").exit_code == 0


@pytest.mark.parametrize("kind", ["records", "artifacts"])
def test_what_was_taken_away_is_refused(board, kind):
    (board.records[0] if kind == "records" else board.artifact()).unlink()

    assert "was removed; what is on a board must stay" in board.refusals("--since", "HEAD")


def test_an_artifact_without_a_record_is_refused(board):
    board.artifact().with_name("other.safetensors").write_bytes(b"x")

    assert "artifacts/other.safetensors: the artifact belongs to no valid record" in board.refusals("--since", "HEAD")


def test_an_edited_artifact_has_its_record_checked(board):
    board.artifact().write_bytes(board.artifact(1).read_bytes())

    assert "its sha256 differs" in board.refusals("--since", "HEAD")


@pytest.mark.parametrize(
    "name", ["x.py", "records/x", "site/rows/../x.php", "a b.md", "new\nline.md", "-x.md", ".gitignore", "ü.md"]
)
def test_a_file_that_is_no_part_of_a_board_is_refused(board, name):
    path = board.folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("x", encoding="utf-8")

    assert "it does not belong to a board" in board.refusals("--since", "HEAD")


def test_a_link_and_an_executable_are_refused(board, tmp_path):
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    (board.folder / "records" / "p").mkdir()
    (board.folder / "records" / "p" / "r.json").symlink_to(tmp_path / "secret")
    os.chmod(board.artifact(), 0o755)

    refusals = board.refusals("--since", "HEAD")

    assert refusals.count("it is a link, an executable or another repository") == 2
    board.commit()
    assert board.refusals("--since", "HEAD~1").count("it is a link, an executable or another repository") == 2


def test_a_board_that_is_a_link_is_a_mistake(board):
    (board.folder.parent / "link").symlink_to(board.folder)

    result = board.run_command("audit", "--out", board.folder.parent / "link", "--since", "HEAD")

    assert isinstance(result.exception, UserError)
    assert "is a link" in str(result.exception)


def test_an_edited_page_is_refused(board):
    (page,) = board.folder.glob("digits*.csv")
    page.write_text(page.read_text(encoding="utf-8").replace("digits", "digitz"), encoding="utf-8")

    assert "differs from its records" in board.refusals("--since", "HEAD")


def test_an_edited_entry_of_the_changelog_is_refused(board):
    path = board.folder / "CHANGELOG.md"
    path.write_text(path.read_text(encoding="utf-8").replace("First state", "Second state"), encoding="utf-8")

    assert "CHANGELOG.md: older entries were removed or edited" in board.refusals("--since", "HEAD")


@pytest.mark.parametrize("name", ["reference/reported_tables.csv", "claims.yaml", "site/figures/x.svg"])
def test_what_people_must_read_is_not_green(board, name):
    path = board.folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("", encoding="utf-8")

    assert f"not checked: {name}: " in board.refusals("--since", "HEAD")


@pytest.mark.parametrize("what", ["record", "artifact"])
def test_what_is_on_a_board_does_not_change_unseen(board, what):
    """Even if every check of the new content passes."""
    if what == "record":
        fields = board.read()
        fields["provenance"]["seconds"] += 1
        board.write(fields)
    else:
        os.utime(board.artifact())
        assert board.audit("--since", "HEAD").exit_code == 0  # only its time changed
        board.artifact().write_bytes(b"x")
    board.leaderboard()

    assert "it was on the board and was changed; what is on a board stays as it is" in board.refusals("--since", "HEAD")


@pytest.mark.parametrize("name", ["site/evil.html", "site/x.js", "evil.md", "evil.json", "site/rows/p/x.html"])
def test_a_page_that_no_record_gives_is_refused(board, name):
    (board.folder / name).parent.mkdir(exist_ok=True, parents=True)
    (board.folder / name).write_text("<script>alert(1)</script>", encoding="utf-8")

    assert f"pages: {name} is not a page of this board" in board.refusals("--since", "HEAD")


@pytest.mark.parametrize("name", ["HEAD..HEAD", "HEAD~1...HEAD", "HEAD^-", "HEAD^@", ":/x", "HEAD:leaderboards"])
def test_what_is_no_single_commit_is_a_mistake(board, name):
    board.records[0].write_text("{}", encoding="utf-8")

    result = board.audit("--since", name)

    assert isinstance(result.exception, UserError)
    assert "is not a commit of the git repository" in str(result.exception)


def test_what_git_ignores_is_looked_at(board):
    (board.folder.parent / ".gitignore").write_text("leaderboards\n*.json\n", encoding="utf-8")
    (board.folder / "x.exe").write_text("x", encoding="utf-8")
    (board.folder / "work").mkdir()
    (board.folder / "work" / "x").write_text("of a run", encoding="utf-8")

    assert "x.exe: it does not belong to a board" in (refusals := board.refusals("--since", "HEAD"))
    assert "work" not in refusals


def test_a_submodule_is_refused_whatever_its_settings_say(board):
    inner = board.folder / "records" / "other"
    inner.mkdir()
    head = board.git("rev-parse", "HEAD")
    board.git("update-index", "--add", "--cacheinfo", f"160000,{head},leaderboards/records/other")
    (board.folder.parent / ".gitmodules").write_text(
        '[submodule "o"]\n\tpath = leaderboards/records/other\n\turl = x\n\tignore = all\n', encoding="utf-8"
    )
    board.git("commit", "-qm", "x")

    assert "records/other: it does not belong to a board" in board.refusals("--since", "HEAD~1")


def test_prose_is_for_people(board):
    (board.folder / "README.md").write_text("Hello", encoding="utf-8")

    assert "not checked: README.md: prose is for people to review" in board.refusals("--since", "HEAD")


def _pending(board, record_number=0):
    """Commit a pending submission of a row."""
    folder = board.folder / "submissions" / "mine"
    folder.mkdir(parents=True)
    record = board.records[record_number].read_bytes()
    fields = json.loads(record)
    submission = {
        **{name: fields[name] for name in ("run", "protocol")},
        **{"schema_version": 1, "kind": "result", "record_sha256": "0" * 64, "credit": "Ada"},
        "artifact": {"sha256": "0" * 64, "size_bytes": 1, "url": None},
        "sample": {"seed": "0" * 64, "count": 0, "missed": [], "sha256": None},
        **{"source": None, "package": None},
    }
    (folder / "record.json").write_bytes(record)
    text = json.dumps(submission, indent=2, sort_keys=True) + "\n"
    (folder / "submission.json").write_text(text, encoding="utf-8")
    board.commit()
    return folder


def _remove(folder):
    for path in folder.iterdir():
        path.unlink()


def test_an_accepted_submission_may_go(board):
    _remove(_pending(board))

    assert board.audit("--since", "HEAD").exit_code == 0


def test_a_pending_submission_may_not_go_while_its_record_is_not_on_the_board(board):
    folder = _pending(board)
    fields = board.read()
    fields["provenance"]["seconds"] += 1
    board.write(fields)
    board.leaderboard()
    _remove(folder)

    refusals = board.refusals("--since", "HEAD")

    assert "submissions/mine: the submission was removed although its record is not on the board" in refusals


def test_a_submission_beside_other_changes_is_refused(board):
    folder = board.folder / "submissions" / "new"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}", encoding="utf-8")

    assert "submissions need a separate proposal" in board.refusals("--since", "HEAD")
