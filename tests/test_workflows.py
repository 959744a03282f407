"""The workflows: what they may do. What the one for proposals decides is in test_proposals.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

WORKFLOWS = {path.name: path for path in (Path(__file__).resolve().parents[1] / ".github" / "workflows").glob("*.yml")}


def load(name):
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_actions_are_pinned_by_commit_with_their_version(name):
    lines = [line for line in WORKFLOWS[name].read_text(encoding="utf-8").splitlines() if "uses:" in line]

    assert lines
    assert [line for line in lines if not re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_no_script_of_a_workflow_holds_a_text_of_the_proposal(name):
    held = [
        expression for step in steps(load(name)) for expression in re.findall(r"\$\{\{(.*?)\}\}", step.get("run", ""))
    ]

    assert [expression for expression in held if not expression.strip().startswith("matrix.")] == []


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_no_checkout_leaves_a_token_behind_and_no_workflow_has_a_secret(name):
    checkouts = [step["with"] for step in steps(load(name)) if step.get("uses", "").startswith("actions/checkout@")]

    assert all(given["persist-credentials"] is False for given in checkouts)
    assert "secrets" not in WORKFLOWS[name].read_text(encoding="utf-8").replace("No secrets", "")


def test_the_workflow_for_proposals_is_the_bases_reads_only_and_runs_for_every_proposal():
    proposal = load("proposal.yml")

    assert proposal[True] == {"pull_request_target": {"branches": ["main"]}}  # YAML reads `on` as true
    assert proposal["permissions"] == {"contents": "read"}
    assert list(proposal["jobs"]) == ["boards"]
    (job,) = proposal["jobs"].values()
    assert "permissions" not in job and "if" not in job
    assert not any("cache" in key for step in steps(proposal) for key in step.get("with", {}))
    assert not any("cache@" in step.get("uses", "") for step in steps(proposal))


def test_no_other_workflow_runs_with_the_bases_rights_on_a_proposal():
    triggers = {name: set(load(name)[True]) for name in WORKFLOWS}

    assert {name for name, of in triggers.items() if of & {"pull_request_target", "workflow_run", "issue_comment"}} == {
        "proposal.yml"
    }


def test_a_job_that_may_write_installs_nothing_and_runs_no_code_of_the_project():
    writing = {}
    for name in WORKFLOWS:
        given = load(name)
        for job in given["jobs"].values():
            if "write" in job.get("permissions", given["permissions"]).values():
                writing[name] = [step.get("uses", "run").partition("@")[0] for step in job["steps"]]

    assert writing == {"pages.yml": ["actions/deploy-pages"]}
