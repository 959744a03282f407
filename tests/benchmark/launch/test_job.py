"""Orders become jobs, each after those that it needs; the parts of an order together do what it does whole."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import UserError
from benchmark.launch.job import job_graph, parse_part
from benchmark.launch.run_order import run_order
from benchmark.launch.worker import main
from benchmark.results.evaluated import merge
from benchmark.results.evaluation import CASCADE
from benchmark.results.store import artifact_path, load_records
from benchmark.review.evaluating import evaluate_file
from benchmark.review.tasks import EvaluateRequest
from tests.short_attacks import short_attacks

# A network of which some images survive each attack.
BETTER = {"train_images": 160, "epsilon": "8/255", "training": {"epochs": 5, "batch_size": 16, "selection_steps": 1}}
IMAGES = {"images": 5, "pgd": {"steps": 1}, "autoattack": {"batch_size": 3}}


def test_a_job_comes_after_those_that_it_needs(tiny_order, make_experiment):
    dense = tiny_order(shards=2)
    run = dense.experiment.run
    first_phase = {"run": run, "run_hash": dense.experiment.run_hash}
    later = tiny_order(seed=1, first_phase=first_phase)
    jobs = job_graph([later, dense])

    assert [(job.name, job.needs) for job in jobs] == [
        (f"{run} network", ()),
        (f"{run} attack 1/2", (f"{run} network",)),
        (f"{run} attack 2/2", (f"{run} network",)),
        (f"{run} record", (f"{run} attack 1/2", f"{run} attack 2/2")),
        (later.experiment.run, (f"{run} network",)),
    ]
    assert jobs[2].command_words == [str(dense.path), "--part", "attack 2/2"]
    assert [path.name for path in jobs[3].leases] == [
        "lease-run.json",
        "lease-attack-1-of-2.json",
        "lease-attack-2-of-2.json",
    ]
    assert [path.name for path in jobs[0].leases + jobs[1].leases] == ["lease-run.json", "lease-attack-1-of-2.json"]
    group = [job.gpus for job in job_graph([dense.model_copy(update={"processes": 4})])]
    assert group == [4, 1, 1, 1]


@pytest.mark.parametrize("part", ["attack 2/8", "attack", "attack 0/4", "all", "record 1/4", ""])
def test_a_part_that_does_not_fit_the_order_is_refused(part):
    assert parse_part("attack 2/4", 4)[0] == "attack" and parse_part("whole", 4) == ("whole", None)
    with pytest.raises(UserError):
        parse_part(part, 4)


def facts(record):
    """Return a record without what another run of the same code may change."""
    fields = json.loads(record.model_dump_json())
    del fields["cost"]["latency_seconds"], fields["provenance"], fields["training"]["seconds"]
    del fields["evaluation"]["autoattack"]["seconds"]
    for epoch in fields["training"]["history"]:
        del epoch["seconds"]
    return fields


@pytest.fixture
def attacked(monkeypatch):
    """Return a list that gets the batches which AutoAttack really attacks."""
    from benchmark.evaluation.autoattack import _Cascade

    batches, original = [], _Cascade._attack
    monkeypatch.setattr(
        _Cascade, "_attack", lambda self, rows, place: batches.append(place) or original(self, rows, place)
    )
    return batches


def test_jobs_one_process_and_merged_shards_give_the_same(tmp_path, tiny_order, attacked):
    parts, whole = (tiny_order(shards=2, out=out, evaluation=IMAGES, **BETTER) for out in ("parts", "whole"))
    request = EvaluateRequest(
        *(artifact_path(parts.out, parts.experiment.run), None, None, "8/255", 5, None, tmp_path / "merged", "cpu"),
        *(3, None, False, None),
    )
    with short_attacks():
        path = parts.save()
        run_order(path, "network")
        assert attacked == [] and load_records(parts.out) == []
        run_order(path, "attack 2/2")
        run_order(path, "attack 1/2")
        count = len(attacked)
        run_order(path, "record")
        assert len(attacked) == count > 0  # all found in the journals
        run_order(path, "record")
        run_order(path, "attack 1/2")
        assert len(attacked) == count and not parts.journal.exists()  # done, and known to be
        run_order(whole.save())
        assert len(attacked) == 2 * count
        shards = [
            evaluate_file(EvaluateRequest(**{**vars(request), "shard": f"{i}/2"}), lambda line: None)[0] for i in (1, 2)
        ]

    (record,), (other,) = load_records(parts.out), load_records(whole.out)
    assert facts(record) == facts(other)
    assert record.evaluation.autoattack.shards == 2
    merged = merge(shards).evaluation
    for name in ("clean", *CASCADE):
        assert record.evaluation.verdicts[name] == merged.verdicts[name]
    assert record.evaluation.autoattack.attacks == merged.autoattack.attacks
    assert 0 < record.evaluation.autoattack.accuracy < 1


def test_what_another_job_has_not_done_is_done_by_the_record(tiny_order, attacked, capsys):
    order = tiny_order(shards=2, evaluation=IMAGES)
    with short_attacks():
        path = order.save()
        assert main(path, "attack 1/2") == 2
        assert (
            "is not trained yet; run the part network of the order first" in (order.folder / "failed.txt").read_text()
        )
        assert main(path, "network") == 0
        assert main(path, "attack 2/2") == 0
        assert main(path, "record") == 0

    (record,) = load_records(order.out)
    assert record.evaluation.autoattack.shards == 2 and not (order.folder / "failed.txt").exists()
    assert [path.name for path in order.folder.rglob("*lease*")] == []
