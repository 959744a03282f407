"""Results of several sites in one folder: checked copies, nothing replaced, every contradiction one sentence."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

import benchmark
from benchmark.__main__ import app
from benchmark.errors import UserError
from benchmark.files import writing
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, load_hashed_records, load_records, record_path, save_record
from benchmark.review import collecting
from benchmark.review.collecting import collect

# Test folders are no packages (importmode=importlib), hence no import.
record_fields = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))["record_fields"]


@pytest.fixture
def leave(tmp_path):
    """Return a function that leaves a record and its artifact in a site's folder, as `run` does."""

    def make(site, seed=0, network=b"network", **changes):
        if network is not None:
            changes |= {
                "artifact__sha256": hashlib.sha256(network).hexdigest(),
                "artifact__size_bytes": len(network),
            }
        record = Record(**record_fields(seed=seed, **changes))
        save_record(record, tmp_path / site)
        if network is not None:
            path = artifact_path(tmp_path / site, record.run)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(network)
        return record

    return make


@pytest.fixture
def sites(tmp_path):
    return [tmp_path / "a", tmp_path / "b"]


def content(folder):
    """Return the files that are no pages, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in ("records", "artifacts")
        for path in sorted((folder / kind).rglob("*"))
        if path.is_file()
    }


def test_two_sites_become_one_with_its_boards(leave, sites, tmp_path):
    leave("a", 0), leave("b", 1, b"other"), leave("b", 2, network=None)
    out = tmp_path / "deep" / "merged"

    collected = collect(sites, out)

    assert [record.seed for record in collected.new] == [0, 1, 2]
    assert (collected.known, collected.refused) == (0, ())
    assert collected.without_artifact == (collected.new[2].run,)
    assert content(out) == content(sites[0]) | content(sites[1])
    assert any("seed" in path.read_text(encoding="utf-8") for path in out.glob("*.md"))

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = collect(sites, out)
    assert (again.new, again.known) == ((), 3)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_results_of_one_site_may_be_brought_into_the_folder_of_the_other(leave, sites):
    leave("a", 0), leave("b", 1)

    collected = collect([sites[1], sites[0]], sites[0])

    assert ([record.seed for record in collected.new], collected.known) == ([1], 1)


def test_of_two_records_of_one_run_the_first_stays_and_the_rest_is_copied(leave, sites, tmp_path):
    first = leave("a", 0, provenance__seconds=1.0)
    leave("b", 0, provenance__seconds=2.0), leave("b", 1)

    collected = collect(sites, tmp_path / "merged")

    (sentence,) = collected.refused
    assert sentence.startswith(f"{first.run} under {first.protocol}: the record in {sites[1]} is another one than in")
    assert "\n" not in sentence
    assert [record.seed for record in collected.new] == [0, 1]
    assert first in load_records(tmp_path / "merged")


def test_one_run_has_one_network_whatever_the_protocol(leave, sites, tmp_path):
    leave("a", 0), leave("b", 0, b"trained again", n=50, right=(40, 25, 22))

    collected = collect(sites, tmp_path / "merged")

    (sentence,) = collected.refused
    assert "is of another network than that of this run in" in sentence
    assert [record.evaluation.n_images for record in collected.new] == [100]


def test_two_protocols_of_one_network_come_together(leave, sites, tmp_path):
    leave("a", 0), leave("b", 0, n=50, right=(40, 25, 22))

    collected = collect(sites, tmp_path / "merged")

    assert (len(collected.new), collected.refused) == (2, ())


def test_a_network_that_was_not_measured_is_refused(leave, sites, tmp_path):
    record = leave("a", 0)
    artifact_path(sites[0], record.run).write_bytes(b"retwork")
    leave("b", 1)

    collected = collect(sites, tmp_path / "merged")

    (sentence,) = collected.refused
    assert "its artifact is not the file that the record was measured on; restore that file" in sentence
    assert not artifact_path(tmp_path / "merged", record.run).exists()
    assert [record.seed for record in collected.new] == [1]


def test_a_file_that_changes_meanwhile_is_not_copied(leave, sites, tmp_path, monkeypatch):
    record = leave("a", 0)
    artifact_path(sites[0], record.run).write_bytes(b"retwork")
    monkeypatch.setattr(collecting, "artifact_problem", lambda *_: "")  # it was right when it was checked

    with pytest.raises(UserError, match="changed while it was copied"):
        collect(sites[:1], tmp_path / "merged")

    assert content(tmp_path / "merged") == {}


def test_links_are_refused_on_both_sides(leave, sites, tmp_path):
    record = leave("a", 0)
    path = artifact_path(sites[0], record.run)
    path.rename(tmp_path / "secret")
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="link"):
        collect(sites[:1], tmp_path / "merged")
    assert not (tmp_path / "merged" / "records").exists()

    leave("b", 1)
    (tmp_path / "merged").mkdir(exist_ok=True)
    (tmp_path / "merged" / "artifacts").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="link"):
        collect(sites[1:], tmp_path / "merged")


def test_a_site_that_is_damaged_or_missing_changes_nothing(leave, sites, tmp_path):
    leave("a", 0)
    record = leave("b", 1)
    record_path(sites[1], record.protocol, record.run).write_text("{}", encoding="utf-8")

    with pytest.raises(UserError, match="delete the file, and repeat the run"):
        collect(sites, tmp_path / "merged")
    with pytest.raises(UserError, match="there is no folder"):
        collect([sites[0], tmp_path / "nowhere"], tmp_path / "merged")

    assert not (tmp_path / "merged").exists()


def test_after_a_kill_no_row_lacks_its_network_and_the_same_command_continues(leave, sites, tmp_path, monkeypatch):
    leave("a", 0), leave("b", 1)
    replaced = []

    def kill(source, target):
        if len(replaced) == 3:
            raise KeyboardInterrupt
        replaced.append(target)
        return rename(source, target)

    rename = writing.os.replace
    monkeypatch.setattr(writing.os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        collect(sites, tmp_path / "merged")
    monkeypatch.undo()
    assert [artifact_path(tmp_path / "merged", each.run).exists() for each in load_records(tmp_path / "merged")] == [
        True
    ]

    collected = collect(sites, tmp_path / "merged")

    assert ([record.seed for record in collected.new], collected.known) == ([1], 1)
    assert len(load_hashed_records(tmp_path / "merged")) == 2


def test_the_command_lists_what_is_new_and_ends_with_one_if_anything_was_refused(leave, sites, tmp_path):
    record = leave("a", 0, provenance__seconds=1.0)
    first = CliRunner().invoke(app, ["collect", str(sites[0]), "--out", str(tmp_path / "merged")])
    leave("b", 0, provenance__seconds=2.0), leave("b", 1, network=None)

    result = CliRunner().invoke(app, ["collect", *map(str, sites), "--out", str(tmp_path / "merged")])

    assert (first.exit_code, result.exit_code) == (0, 1)
    assert first.output.splitlines()[0] == f"new       {record.run} under {record.protocol}"
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["new", "note", "refused"]
    assert lines[-1] == f"{tmp_path / 'merged'}: 1 new, 1 already there, 1 refused"


def test_a_single_path_is_no_list_of_sites(tmp_path):
    with pytest.raises(UserError, match="sites must be a list of at least one folder"):
        benchmark.collect("site", out=tmp_path)
