"""Printed commands: nothing else on standard output, and each runs in any shell and folder."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import CommandsConfig
from benchmark.launch.engine import LaunchContext, make_engine
from benchmark.launch.job import job_graph
from benchmark.launch.time_limit import TimeLimit
from benchmark.results.store import load_records


@pytest.fixture
def commands(tmp_path, capsys):
    """Return a function that returns the outcome, the commands and the notes for some orders."""

    def commands(orders, limit=None):
        notes = []
        with make_engine(CommandsConfig(), LaunchContext(tmp_path, "auto", 1, 1)) as engine:
            outcome = engine.run(job_graph(orders), limit=limit or TimeLimit(), say=notes.append)
        return outcome, capsys.readouterr().out.splitlines(), notes

    return commands


def test_one_line_for_each_job_and_nothing_else(commands, tiny_order):
    orders = [tiny_order(shards=2, out="a b"), tiny_order(seed=1, out="it's")]
    outcome, lines, notes = commands(orders)
    words = [shlex.split(line) for line in lines]

    assert outcome.left == tuple(order.experiment.run for order in orders) and outcome.failed == ()
    assert [line[line.index("benchmark.launch.alone") + 1 :] for line in words] == [
        *([str(orders[0].path), "--part", part] for part in ("network", "attack 1/2", "attack 2/2", "record")),
        [str(orders[1].path)],
    ]
    assert all(order.path.is_file() for order in orders) and len(notes) == 1
    assert commands([])[1:] == ([], [])


def test_with_a_time_limit_only_what_can_end_in_it_is_printed(commands, tiny_order):
    order = tiny_order(shards=2)
    limit = TimeLimit(100, clock=lambda: 0.0)
    limit.predict({f"{order.experiment.run} attack 1/2": 101.0})
    _, lines, notes = commands([order], limit)

    assert [line.endswith("--seconds-left 100") for line in lines] == [True, True]  # network, and the other shard
    assert [note.split(":")[0].split()[0] for note in notes[:-1]] == ["left", "left"] and "needs" in notes[1]


def test_a_path_with_a_line_break_is_refused_before_anything_is_printed(commands, tiny_order, capsys):
    with pytest.raises(UserError, match="line break"):
        commands([tiny_order(), tiny_order(seed=1, out="a\nb")])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_command_of_an_index_makes_a_record_from_any_folder(commands, tiny_order, tmp_path):
    """As a Kubernetes indexed job runs it."""
    orders = [tiny_order(out="other"), tiny_order(seed=1, out="an out")]
    script = tmp_path / "jobs.sh"
    script.write_text("\n".join(commands(orders)[1]) + "\n", encoding="utf-8")
    chosen = 'exec bash -c "$(sed -n "$((JOB_COMPLETION_INDEX + 1))p" "$0")"'
    variables = {**os.environ, "JOB_COMPLETION_INDEX": "1"}
    subprocess.run(["bash", "-c", chosen, script], cwd="/", env=variables, check=True, stdout=subprocess.DEVNULL)

    assert [record.run for record in load_records(orders[1].out)] == [orders[1].experiment.run]
    assert not orders[0].out.joinpath("records").exists()
