"""What is queued is remembered by the folder of results, whichever process has queued it."""

from __future__ import annotations

import stat

import pytest

from benchmark.errors import UserError
from benchmark.launch.slurm.queued import Queued


def test_two_processes_remember_their_jobs_side_by_side(tmp_path):
    first, second = Queued(tmp_path), Queued(tmp_path)
    first.add({"a": "7_0", "b": "7_1"}, "x")
    second.add({"c": "8"}, "y")

    assert first.alive({"7_0", "7_1", "8"}) == {"a": "7_0", "b": "7_1", "c": "8"}


def test_jobs_that_have_ended_are_forgotten(tmp_path):
    queued = Queued(tmp_path)
    queued.add({"a": "7_0", "b": "7_1"}, "x")
    queued.add({"c": "8"}, "y")
    (queued.folder / "7_0.ended").write_text("0 x\n")  # and SLURM still completes it

    assert queued.alive({"7_0", "7_1"}) == {"b": "7_1"}
    assert [path.name for path in queued.folder.glob("queued-*")] == ["queued-7.json"]
    assert queued.alive({}) == {}
    assert list(queued.folder.glob("queued-*")) == []


@pytest.mark.parametrize("content", ["", "[]", '{"ids": {"a": 7}}', "{"])
def test_a_damaged_file_counts_as_nothing_queued(tmp_path, content):
    queued = Queued(tmp_path)
    (queued.folder / "queued-7.json").write_text(content)

    assert queued.alive({"7"}) == {}


def test_only_the_user_may_enter_as_what_lies_there_is_executed(tmp_path):
    folder = Queued(tmp_path).folder

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_is_refused(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work" / ".slurm").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UserError, match="symbolic link"):
        Queued(tmp_path)


def test_exit_codes_are_read_once_they_are_written(tmp_path):
    queued = Queued(tmp_path)
    queued.add({"a": "7_0"}, "x")
    assert queued.code("7_0") is None
    (queued.folder / "7_0.ended").write_text("4 x\n")
    assert queued.code("7_0") == 4
    assert queued.holder("7_0") is None
    (queued.folder / "7_0.elsewhere").write_text("on a since b\n")
    assert queued.holder("7_0") == "on a since b"


def test_what_an_older_job_of_the_same_number_has_left_is_not_the_end_of_a_new_one(tmp_path):
    queued = Queued(tmp_path)
    (queued.folder / "7_0.ended").write_text("0 of-an-older-one\n")
    queued.add({"a": "7_0"}, "x")

    assert queued.code("7_0") is None
    assert Queued(tmp_path).alive({"7_0"}) == {"a": "7_0"}
