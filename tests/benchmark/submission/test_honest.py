"""Honest submissions of both kinds pass, and the command line reports the outcome of each."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from benchmark.errors import UserError
from benchmark.results.addresses import load_address
from benchmark.results.evaluation import CASCADE
from benchmark.results.store import artifact_path, load_records, record_path, write_atomic
from benchmark.submission import accepting, verifying, writing
from benchmark.submission.accepting import accept_submission

MET = (5, 1, 1, 1)  # images of the honest result that each attack of the cascade meets


def test_a_result_is_accepted_and_copied_to_the_board(run, honest_result, rows, tmp_path):
    board = tmp_path / "board"
    board.mkdir()
    files = {path.name: path.read_bytes() for path in honest_result.iterdir()}

    result = run("verify", honest_result, "--board", board, "--accept")

    assert result.exit_code == 0, result.output
    for done in (
        *("robust: pgd-10 on the margin, 1 of 1 images counted as robust, 0 broken", "pgd: pgd-25 on 5 of 5 images"),
        *("leaky_bpda on 1 of 1 images counted as robust, 0 broken", "hard_label on 1 of 1 images", "logit_scale on 1"),
        *(f"{name} on all {met} images to the last bit, 0 verdicts" for name, met in zip(CASCADE, MET, strict=True)),
    ):
        assert done in result.output
    assert "rank       1 of 1" in result.output
    (copied,) = load_records(board)
    name = copied.run.replace("/", "__")
    for path in (f"artifacts/{name}.safetensors", f"records/{copied.protocol}/{name}.json"):
        assert (board / path).read_bytes() == (rows / path).read_bytes()
    assert {path.name: path.read_bytes() for path in honest_result.iterdir()} == files
    assert run("leaderboard", "--out", board).exit_code == 0

    again = run("verify", honest_result, "--board", board, "--accept")

    assert again.exit_code == 1
    assert "is already on the board" in again.output


def test_a_method_is_accepted_without_its_file_being_run(run, method_forger, tmp_path, monkeypatch):
    """Even one that would end the process: only its hash counts."""
    source = "import os\nos._exit(7)\n"
    record = method_forger.read()
    (method_forger.folder / "method" / "mine.py").write_text(source, encoding="utf-8")
    digest = method_forger.digest("method/mine.py")
    record["method"]["source_sha256"] = record["provenance"]["config"]["method"]["source_sha256"] = digest
    method_forger.rehash(method_forger.rename(record), source={"file": "mine.py", "sha256": digest})

    outcome = method_forger.verify(seconds=1)

    assert outcome.accepted, outcome.reasons


def test_submit_tells_row_and_rank_beside_the_rows_there(run, rows, full_board, tmp_path):
    result = run("submit", "/at/", "--out", rows, "--to", tmp_path / "new", "--board", full_board, "--credit", "A. L.")

    assert result.exit_code == 0, result.output
    assert "rank       1 of 1 up to 30 kB, tie group 1" in result.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("adversarial.safetensors", "artifact.safetensors", "record.json", "submission.json")
    ]


def test_an_address_takes_the_place_of_the_artifact(run, rows, board, honest_result, tmp_path):
    to, url = tmp_path / "s", "https://example.org/a.safetensors"
    board = shutil.copytree(board, tmp_path / "board")  # the row goes onto it

    made = run("submit", "/at/", "--out", rows, "--to", to, "--board", board, "--credit", "A. L.", "--url", url)
    at_hand = honest_result / "artifact.safetensors"
    other = run("verify", to, "--board", board, "--artifact", honest_result / "record.json")
    result = run("verify", to, "--board", board, "--artifact", at_hand, "--seconds", 1, "--accept")

    assert made.exit_code == 0, made.output
    assert not (to / "artifact.safetensors").exists()
    assert json.loads((to / "submission.json").read_text())["artifact"]["url"] == url
    assert result.exit_code == 0, result.output
    for name in ("leaky_bpda", "hard_label", "square (1,000 queries)"):  # however little time there is
        assert f"{name} on 1 of 1 images counted as robust, 0 broken" in result.output
    assert other.exit_code == 1
    assert "refused  artifact: " in other.output
    (record,) = (json.loads(path.read_text()) for path in (board / "records").rglob("*.json"))
    assert load_address(board, record["run"]) == url  # where `load_model` fetches it
    assert not list((board / "artifacts").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("/mine/",), "give it by --method path/to/mine.py:Mine"),
        (("/mine/", "--method", "{rows}/small.yaml"), "give the file as it was"),
        (("/mine/", "--method", "{rows}/none.py"), "there is no such file"),
        (("/at/", "--method", "{rows}/mine.py"), "is a built-in method"),
        (("/at/", "--url", "http://example.org/a"), "the submission cannot hold url"),
        (("/at/", "--credit", "\u202eevil"), "the submission cannot hold credit"),
        (("/at/", "--credit", "<b>me</b>"), "--credit '<b>me</b>' holds markup"),
        (("/at/", "--url", f"https://example.org/{'a' * 200}"), "the submission cannot hold url"),
        (("/at/", "--to", "{rows}"), "name a new or empty folder"),
        (("/at/", "--to", "{rows}/mine.py/s"), "is below mine.py, which is a file"),
        (("/at/", "--method", ""), "is a built-in method"),
        (("/at/", "--board", "{rows}/none"), "there is no board in"),
        (("/at/", "--board", "{rows}/records"), "give --board a folder that holds records/, as {rows}"),
        (("nothing",), "nothing"),
    ],
)
def test_a_mistake_in_submit_is_reported_and_leaves_no_folder(run, rows, board, tmp_path, options, message):
    to = tmp_path / "s"
    options = [option.format(rows=rows) for option in options]

    result = run("submit", "--out", rows, "--to", to, "--board", board, "--credit", "A. L.", *options)

    assert result.exit_code != 0
    assert message.format(rows=rows) in str(result.exception)
    assert not to.exists()


def test_credit_is_gits_name_unless_it_is_given(run, rows, board, tmp_path, monkeypatch):
    completed = subprocess.CompletedProcess([], 0, "Grace  Hopper\n")
    monkeypatch.setattr(writing.subprocess, "run", lambda *args, **kwargs: completed)

    result = run("submit", "/at/", "--out", rows, "--to", tmp_path / "s", "--board", board)

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "s" / "submission.json").read_text())["credit"] == "Grace Hopper"
    assert result.output.endswith(f"verify {tmp_path / 's'} --board {board}\n")


def test_without_gits_name_a_sentence_asks_for_the_credit(monkeypatch):
    def fails(*args, **kwargs):
        raise subprocess.CalledProcessError(1, "git")

    monkeypatch.setattr(writing.subprocess, "run", fails)

    with pytest.raises(UserError, match="--credit"):
        writing.git_name()


def test_a_folder_that_is_not_there_is_a_mistake_and_no_refusal(run, board, tmp_path):
    result = run("verify", tmp_path / "none", "--board", board)

    assert "there is no folder" in str(result.exception)


def test_other_test_images_are_a_mistake_that_names_the_option(forger, monkeypatch):
    record = forger.read()
    record["dataset"]["test_sha256"] = "0" * 64
    forger.resample(record)

    with pytest.raises(verifying.UserError, match="give their folder by --data-dir"):
        forger.verify()


@pytest.mark.parametrize("kind", ["artifact", "record", "link"])
def test_accept_overwrites_nothing(accepted, tmp_path, kind):
    board, record = tmp_path / "board", accepted.parts.record
    taken = record_path(board, record.protocol, record.run) if kind == "record" else artifact_path(board, record.run)
    taken.parent.mkdir(parents=True)
    (tmp_path / "mine").write_bytes(b"mine")
    if kind == "link":
        taken.symlink_to(tmp_path / "mine")
    else:
        taken.write_bytes(b"mine")

    with pytest.raises(UserError, match=r"already exists|is a symbolic link"):
        accept_submission(accepted, board)

    assert taken.read_bytes() == (tmp_path / "mine").read_bytes() == b"mine"
    assert [path for path in board.rglob("*") if not path.is_dir()] == [taken]


@pytest.mark.parametrize("name", ["records", "artifacts", "records/PROTOCOL"])
def test_accept_copies_nothing_behind_a_link_below_the_board(accepted, tmp_path, name):
    board, outside = tmp_path / "board", tmp_path / "outside"
    outside.mkdir()
    link = board / name.replace("PROTOCOL", accepted.parts.record.protocol)
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    with pytest.raises(UserError, match=f"{link} is a symbolic link"):
        accept_submission(accepted, board)
    assert list(outside.iterdir()) == [] and list(board.rglob("*.json")) == []


def test_accept_copies_to_a_board_that_is_a_link_itself(accepted, tmp_path):
    (tmp_path / "board").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "board")

    accept_submission(accepted, tmp_path / "link")

    assert load_records(tmp_path / "board") == [accepted.parts.record]


def test_accept_broken_off_between_its_files_leaves_no_row_and_can_be_repeated(accepted, tmp_path, monkeypatch):
    def dies(path, content):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomic(path, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(accepting, "write_atomic", dies)
        accept_submission(accepted, tmp_path)
    assert load_records(tmp_path) == []

    accept_submission(accepted, tmp_path)

    assert load_records(tmp_path) == [accepted.parts.record]
