"""The time on several workers, from measured numbers by hand: shards, first phases, what limits it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmark.data.hashes import LocalData
from benchmark.errors import UserError
from benchmark.launch.job import job_graph
from benchmark.launch.order import WorkOrder
from benchmark.planning.measured import EvaluationEntry, Machine, Measurement, TrainingEntry
from benchmark.planning.predict import FIXED, Prediction
from benchmark.planning.states import plan
from benchmark.planning.times import job_seconds, predictions
from benchmark.planning.workers import check_shards, schedule_of, worker_lines
from benchmark.suite.experiment import FirstPhaseSpec
from benchmark.suite.registry import resolve

PARTS = Prediction(training=100.0, validation=20.0, evaluation=30.0, autoattack=80.0, exact=True)


@pytest.fixture
def planned(make_experiment, tmp_path):
    """Return the plan of the given experiments, changed by keywords."""

    def make(*changes):
        experiments = [make_experiment(**each) for each in changes]
        methods = {each.method.target: resolve(each.method.name) for each in experiments}
        return plan(experiments, methods, tmp_path, LocalData(None))

    return make


@pytest.fixture
def measured(planned):
    """Return a measurement of the very step and network of the first plan."""
    work = planned({})[0].work

    def make(device="cpu"):
        machine = Machine(device=device, name="some", threads=1, jobs=2, torch="2.13.0", commit=None)
        steps = TrainingEntry(key=work.key, forward_flops=work.forward_flops, seconds=1.0)
        evaluated = EvaluationEntry(
            network=work.key.network,
            images=10,
            forward_flops=work.forward_flops,
            clean_seconds=0.001,
            pgd_seconds=0.001,
            autoattack={"apgd-ce": 1.0},
        )
        return Measurement(machine=machine, date="2026-01-31", training=[steps], evaluation=[evaluated])

    return make


def test_the_parts_of_a_job_add_up_but_each_starts_for_itself(make_experiment, tmp_path):
    order = WorkOrder(
        experiment=make_experiment(), out=tmp_path, data_dir=None, device="cpu", threads=1, command="", shards=4
    )

    seconds = {job.part: job_seconds(job, PARTS) for job in job_graph([order])}

    assert seconds.pop("network") == 120 + FIXED
    assert seconds.pop("record") == 30 + FIXED
    assert list(seconds.values()) == [20 + FIXED] * 4
    (whole,) = job_graph([order.model_copy(update={"shards": 1})])
    assert job_seconds(whole, PARTS) == PARTS.total == 230 + FIXED


def test_shards_shorten_the_longest_chain(planned, measured):
    items = planned({"seed": 0}, {"seed": 1})
    (time, _) = predictions(items, measured())

    one = schedule_of(items, measured(), workers=2, shards=1)
    split = schedule_of(items, measured(), workers=8, shards=4)

    assert one.makespan == pytest.approx(time.total)
    assert one.work == pytest.approx(2 * time.total)
    network, attack, record = time.training + time.validation + FIXED, time.autoattack / 4 + FIXED, time.evaluation
    assert split.makespan == pytest.approx(network + attack + record + FIXED)
    assert [name.partition(" ")[2].partition(" ")[0] for name in split.chain] == ["network", "attack", "record"]


def test_a_first_phase_comes_before_what_begins_with_it(planned, measured):
    dense = planned({"method": {"name": "at", "target": "methods.at:AT"}, "keep_ratio": 1.0, "allocation": 1.0})[0]
    first_phase = FirstPhaseSpec(run=dense.experiment.run, run_hash=dense.experiment.run_hash)
    follower = planned({})[0]
    follower = replace(follower, experiment=follower.experiment.model_copy(update={"first_phase": first_phase}))

    result = schedule_of([follower, dense], measured(), workers=8, shards=1)

    assert result.chain == (dense.experiment.run, follower.experiment.run)
    assert result.makespan == pytest.approx(result.work)


def test_the_text_names_work_end_and_limit(planned, measured):
    items = planned(*({"seed": seed} for seed in range(4)))

    limited = list(worker_lines(items, measured("cuda"), workers=3, shards=1))
    chained = list(worker_lines(items, measured(), workers=4, shards=1))

    assert limited[0].startswith("on 3 GPUs like some: ")
    assert limited[0].endswith("busy 67% of the time")
    assert limited[1].startswith("  limited by the number of workers; ")
    assert len(limited) == 2
    assert chained[0].startswith("on 4 CPU workers of 1 thread each like some: ")
    assert chained[0].endswith("busy 100% of the time")
    assert chained[1].startswith("  limited by the longest chain of jobs, so that more workers do not help: cifar10/")
    assert chained[2] == "  no GPU was measured; `bench` on a machine with one shows what GPUs take."


def test_what_is_done_takes_no_time(planned, measured):
    items = [replace(item, state="done") for item in planned({"seed": 0}, {"seed": 1})]

    assert schedule_of(items, measured(), workers=2, shards=1) is None
    (line,) = worker_lines(items, measured(), workers=1, shards=1)
    assert line.endswith(": nothing is left to run whose time could be predicted.")


def test_more_shards_than_test_images_are_refused(planned):
    items = planned({"evaluation": {"images": 6}})

    check_shards(items, 6)
    check_shards([replace(items[0], state="done")], 7)
    with pytest.raises(UserError, match=r"--shards 7: .* is attacked on 6 test images; give at most as many shards"):
        check_shards(items, 7)
