"""The log of a run, and what is said when it cannot be written."""

from __future__ import annotations

import pytest

from benchmark.launch.order import WorkOrder
from benchmark.launch.relay import Log


@pytest.fixture
def order(tmp_path, make_experiment):
    order = WorkOrder(
        experiment=make_experiment(), out=tmp_path, data_dir=None, device="cpu", threads=1, command="c", shards=1
    )
    order.folder.mkdir(parents=True)
    return order


def test_lines_are_added_to_the_log(order):
    log = Log(order)

    assert (log.add(["one", "two"]), log.add([]), Log(order).add(["three"])) == (None, None, None)
    assert (order.folder / "log.txt").read_text() == "one\ntwo\nthree\n"


def test_a_log_that_cannot_be_written_is_reported_once(order):
    path = order.folder / "log.txt"
    path.mkdir()
    log = Log(order)

    assert log.add(["one"]) == f"warning: {path} cannot be written (Is a directory); lines are missing there"
    assert log.add(["two"]) is None
    path.rmdir()
    assert log.add(["three"]) is None
    assert path.read_text() == "three\n"


def test_a_log_is_not_written_through_a_link(order, tmp_path):
    (order.folder / "log.txt").symlink_to(tmp_path / "elsewhere")

    assert "cannot be written" in Log(order).add(["one"])
    assert not (tmp_path / "elsewhere").exists()
