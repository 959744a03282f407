"""Jobs become arrays: same resources, same needs, at most as many as the site allows."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import SlurmConfig
from benchmark.launch.job import job_graph
from benchmark.launch.order import WorkOrder
from benchmark.launch.slurm.queued import Queued
from benchmark.launch.slurm.submission import Submission, arrays
from tests.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    return FakeSlurm(tmp_path / "fake", monkeypatch)


@pytest.fixture
def make_jobs(tmp_path, make_experiment):
    """Return the maker of the job graph of some seeds; options change the first order."""

    def make(count, **first):
        orders = [
            WorkOrder(
                experiment=make_experiment(seed=seed),
                out=tmp_path,
                data_dir=None,
                device="cpu",
                threads=1,
                command="c",
                **(first if seed == 0 else {}),
            )
            for seed in range(count)
        ]
        return job_graph(orders)

    return make


@pytest.fixture
def make_submission(tmp_path, slurm):
    def make(gpus=False, timeouts=3, **settings):
        return Submission(SlurmConfig(**settings), Queued(tmp_path), gpus=gpus, minutes=60, timeouts=timeouts)

    return make


def options(script):
    """Return the options of an sbatch file by name."""
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_arrays_are_cut_at_the_limit_and_follow_what_they_need(make_jobs):
    grouped = list(arrays(make_jobs(4, shards=2), largest=3))

    assert [[job.kind for job in array.jobs] for array in grouped] == [
        ["network", "whole", "whole"],
        ["whole"],
        ["attack", "attack"],
        ["record"],
    ]
    ended = set()
    for array in grouped:
        assert set(array.needs) <= ended
        ended |= {job.name for job in array.jobs}


def test_jobs_with_other_numbers_of_gpus_are_other_arrays(make_jobs):
    grouped = list(arrays(make_jobs(2, shards=2, processes=4), largest=9))

    assert [(array.gpus, [job.kind for job in array.jobs]) for array in grouped] == [
        (4, ["network"]),
        (1, ["attack", "attack"]),
        (1, ["record"]),
        (1, ["whole"]),
    ]


def test_an_array_waits_for_the_jobs_it_needs_and_never_for_a_failed_one(make_jobs, make_submission, slurm, tmp_path):
    ids = {}
    submission = make_submission()
    for array in arrays(make_jobs(3, shards=2), largest=9):
        ids |= submission.submit(array, ids)

    first, attacks, record = map(options, slurm.scripts())
    assert (first["array"], attacks["array"]) == ("0-2%3", "0-1%2")
    assert "dependency" not in first
    assert (attacks["dependency"], record["dependency"]) == ("afterok:10_0", "afterok:11_0:11_1")
    assert "array" not in record
    assert all(given["kill-on-invalid-dep"] == "yes" and "requeue" in given for given in (first, attacks, record))
    assert sorted(ids.values()) == ["10_0", "10_1", "10_2", "11_0", "11_1", "12"]
    assert Queued(tmp_path).alive(ids.values()) == ids
    assert all(
        path.exists() for path in (tmp_path / "work" / ".slurm" / f"{number}_submitted.pkl" for number in ids.values())
    )


def test_what_is_needed_and_has_ended_is_no_dependency(make_jobs, make_submission, slurm):
    (network, attacks, _) = arrays(make_jobs(1, shards=2), largest=9)

    make_submission().submit(attacks, {})

    assert network.jobs[0].name in attacks.needs
    assert "dependency" not in options(slurm.scripts()[0])


def test_settings_reach_sbatch(make_jobs, make_submission, slurm):
    settings = {
        "partition": "long",
        "account": "a",
        "qos": "q",
        "memory": "16G",
        "signal_delay": 120,
        "cpus_per_job": 6,
    }
    submission = make_submission(
        gpus=True, setup=("module load cuda",), extra={"nice": 10, "exclusive": True}, **settings
    )
    (array,) = arrays(make_jobs(1, processes=4), largest=9)

    submission.submit(array, {})

    script = slurm.scripts()[0]
    given = options(script)
    assert (given["partition"], given["account"], given["qos"], given["mem"]) == ("long", "a", "q", "16G")
    assert (given["gpus-per-node"], given["cpus-per-task"], given["time"]) == ("4", "6", "60")
    assert (given["signal"], given["nice"], given["exclusive"]) == ("USR2@120", "10", "")
    assert "\nmodule load cuda\n" in script
    assert "srun" in script and "--cpus-per-task=6" in script


def test_a_refusal_is_one_sentence(make_jobs, make_submission, slurm, capfd):
    (slurm.folder / "refusal").write_text("sbatch: error: invalid partition specified: nope\n")
    (array,) = arrays(make_jobs(1), largest=9)

    with pytest.raises(UserError, match=r"sbatch refuses jobs: .*invalid partition specified: nope"):
        make_submission().submit(array, {})
    assert capfd.readouterr().err == ""
