"""From the files of networks trained elsewhere to ranked rows: accepted, marked, superseded, cited and audited."""

from __future__ import annotations

import csv
import json

import pytest

from benchmark.errors import UserError
from benchmark.leaderboard.board.superseding import superseding_problem
from benchmark.leaderboard.render import check_pages, write_pages
from benchmark.results.external import ExternalRecord, external_run
from benchmark.results.foreign import ForeignPart, network_name
from benchmark.results.store import load_all


def _page(board, ending):
    (page,) = board.glob(f"digits-*.{ending}")
    return page.read_text(encoding="utf-8")


def test_the_newer_row_is_ranked_and_the_old_one_stays_reachable(accepted):
    new, old = (
        next(record for record in load_all(accepted) if bool(record.supersedes) is newer) for newer in (True, False)
    )
    lines = {line["runs"]: line for line in csv.DictReader(_page(accepted, "csv").splitlines())}
    assert lines[new.run]["kind"] == "measured" and lines[new.run]["rank"] == "1"
    assert lines[old.run]["kind"] == "superseded" and not lines[old.run]["rank"]
    page = next(accepted.glob(f"site/rows/*/{old.run_hash[:6]}.html")).read_text()
    assert "Superseded" in page and f'href="{new.run_hash[:6]}.html"' in page
    assert "Superseded" in _page(accepted, "md")


def test_the_row_is_marked_in_every_format(accepted, run):
    assert "## Trained elsewhere" in _page(accepted, "md") and "| elsewhere |" in _page(accepted, "md")
    assert "& elsewhere &" in _page(accepted, "tex")
    (row,) = json.loads(_page(accepted, "json"))["rows"]
    assert (row["preset"], row["trained"], row["passes"], row["keep_ratio"]) == ("external", "elsewhere", None, None)
    assert row["origin"]["authors"] == ["Ada Lovelace", "Charles Babbage"]
    assert row["authors"] == "Ada Lovelace; Charles Babbage" and row["licence"] == "MIT"
    (site,) = accepted.glob("site/digits-*.html")
    assert "trained elsewhere</span>" in site.read_text()
    assert '<option value="external">Trained elsewhere</option>' in site.read_text()


def test_the_pages_agree_with_the_records(accepted):
    assert check_pages(accepted) == []


def test_a_citation_is_corrected_without_touching_the_record(board, citation):
    (record,) = (path for path in (board / "external").rglob("*.json") if "supersedes" in path.read_text())
    before = record.read_bytes()
    file = board / "citations" / f"{record.stem}.yaml"
    file.write_text(citation.replace("2026", "2027"))
    write_pages(board)
    bib = _page(board, "bib")
    assert r"{{Engines \& \{networks\}}}" in bib and "{2027}" in bib
    assert record.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("https", "javascript"), "link"),
        (lambda text: text + "extra: 1\n", "extra"),
        (lambda text: text.replace("2026", "'then'"), "year"),
        (lambda text: "- a list\n", "mapping"),
    ],
)
def test_a_citation_that_is_none_is_refused(board, citation, change, reason):
    (file,) = (board / "citations").iterdir()
    file.write_text(change(citation))
    with pytest.raises(UserError, match=reason):
        write_pages(board)


def test_a_citation_without_a_record_is_refused(board, citation):
    (board / "citations" / "digits__at__seed0-abcdef.yaml").write_text(citation)
    with pytest.raises(UserError, match="no record"):
        write_pages(board)


def test_the_same_network_is_refused_as_a_copy(submit, accepted, tmp_path):
    result = submit(tmp_path / "s", "--method", "Another name", board=accepted)
    assert result.exit_code != 0
    assert "it is a copy of" in str(result.exception)


def test_an_evaluation_of_another_file_is_refused(submit, elsewhere, tmp_path):
    result = submit(tmp_path / "s", "--evaluation", elsewhere / "newer.json")
    assert "evaluate this file" in str(result.exception)


def test_what_only_the_submitter_can_correct_is_in_plain_words(submit, tmp_path):
    for option, value, message in (
        ("--licence", "Freeware!", "must be a licence as SPDX writes it"),
        ("--link", "http://example.org", "must be an https address"),
    ):
        assert message in str(submit(tmp_path / "s", option, value).exception)


def test_a_missing_option_is_named(run, elsewhere, tmp_path):
    result = run("submit", "--external", elsewhere / "net.onnx", "--to", tmp_path / "s", "--credit", "Ada")
    assert "--evaluation, --method" in str(result.exception)


def test_accepted_rows_pass_the_audit(run, board):
    result = run("audit", "--out", board, "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert result.output.endswith("2 records, 0 evaluations, 0 challenges, 0 checks, 1 citation: all pass\n")


def test_the_audit_finds_an_edited_count(run, board):
    record = next(path for path in (board / "external").rglob("*.json") if "supersedes" in path.read_text())
    fields = json.loads(record.read_text())
    fields["graph"]["bit_operations"] += 1
    record.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    result = run("audit", "--out", board, fields["run_hash"][:6], "--seconds", "1")
    assert result.exit_code == 1
    assert "graph: bit_operations" in result.output


def test_an_evaluation_with_options_is_audited_with_them(run, elsewhere, board):
    options = ("--mean", "0.25", "--std", "0.5")
    protocol = load_all(board)[0].protocol
    result = run("evaluate", elsewhere / "net.onnx", "--protocol", protocol, "--out", board, *options)
    assert result.exit_code == 0, result.output
    (evaluation,) = (board / "evaluations").glob("*.json")
    assert "__options-" in evaluation.name
    assert run("audit", "--out", board, "--seconds", "1").exit_code == 0

    fields = json.loads(evaluation.read_text())
    fields["foreign"]["mean"] = [0.75]
    evaluation.unlink()
    named = network_name(fields["artifact"]["sha256"], ForeignPart(**fields["foreign"]))
    for name, reason in ((evaluation.name, "is not named after"), (f"{named}__{protocol}.json", "clean")):
        file = evaluation.with_name(name)
        file.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
        refused = run("audit", "--out", board, "--seconds", "1")
        assert refused.exit_code == 1 and f"{name}: " in refused.output and reason in refused.output, refused.output
        file.unlink()


@pytest.fixture
def versions(accepted):
    """Return the older and the newer record."""
    return sorted(load_all(accepted), key=lambda record: bool(record.supersedes))


def _with(record: ExternalRecord, **changes: object) -> ExternalRecord:
    fields = record.model_dump()
    fields["origin"] |= changes
    origin = record.origin.model_copy(update=changes)
    fields["run"], fields["run_hash"] = external_run(record.dataset.name, origin, record.artifact.sha256)
    return ExternalRecord(**fields)


def test_only_those_who_made_a_row_may_supersede_it(versions):
    old, new = versions
    assert superseding_problem(new, [old, new]) == ""
    for what, value in (("authors", ["Mallory"]), ("credit", "Mallory"), ("method", "Another")):
        other = _with(new, **{what: value})
        assert f"whose {what} differs" in superseding_problem(other, [old, other])
    assert "not on this board" in superseding_problem(new, [new])
    rival = _with(new, conversion="again")
    reasons = [superseding_problem(each, [old, new, rival]) for each in (new, rival)]
    assert sorted(bool(reason) for reason in reasons) == [False, True]
