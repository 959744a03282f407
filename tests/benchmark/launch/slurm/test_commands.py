"""What SLURM is asked, and what is said when it does not answer."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.launch.slurm.commands import (
    QueuedState,
    cancel,
    check_commands,
    has_gpus,
    largest_array,
    queued_states,
    state_of,
)
from tests.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    return FakeSlurm(tmp_path, monkeypatch)


def test_states_come_from_squeue(slurm):
    slurm.queue({"7_0": "RUNNING", "7_1": "PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-2]", "7_2": "PENDING|a\x1bb"})

    assert queued_states() == {
        "7_0": QueuedState("RUNNING"),
        "7_1": QueuedState("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-2]"),
        "7_2": QueuedState("PENDING", "a b"),
    }
    assert state_of("7_1") == "PENDING"
    assert state_of("8") is None


def test_a_controller_that_does_not_answer_is_reported_in_one_sentence(slurm):
    (slurm.folder / "down").touch()

    with pytest.raises(UserError, match=r"squeue failed: .*Unable to contact slurm controller"):
        queued_states()
    assert state_of("8") is None


def test_the_site_says_how_large_an_array_may_be_and_whether_it_has_gpus(slurm):
    assert largest_array() == 1001
    assert not has_gpus("main")
    (slurm.folder / "gres").write_text("(null)\ngpu:a100:4(S:0-1)\n")
    assert has_gpus(None)


def test_nothing_to_cancel_asks_nothing(slurm):
    cancel([])
    assert slurm.said("cancelled") == []
    cancel(["7_1", "7_0"])
    assert slurm.said("cancelled") == ["7_0 7_1"]


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UserError, match="needs sbatch, srun"):
        check_commands()
