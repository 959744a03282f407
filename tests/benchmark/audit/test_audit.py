"""`audit` passes an honest board, and refuses what was written into one by hand, for the right reason."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.audit import auditing, sources
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.results.evaluation import VERDICTS

BRIEF = ("--seconds", 1)


def test_an_honest_board_passes_and_nothing_on_it_changes(board):
    before = {path: path.read_bytes() for path in board.folder.rglob("*") if path.is_file()}

    result = board.audit(*BRIEF)

    assert result.exit_code == 0, result.output
    assert result.output.endswith("2 records, 0 evaluations, 0 challenges, 0 checks: all pass\n")
    assert "ok       pages: they agree with their records" in result.output
    assert {path: path.read_bytes() for path in board.folder.rglob("*") if path.is_file()} == before


def test_a_record_with_all_verdicts_set_is_refused_though_every_number_agrees(board):
    fields = board.read()
    board.write(board.with_verdicts(fields, {name: np.ones(12, dtype=bool) for name in VERDICTS}))
    assert board.leaderboard().exit_code == 0

    assert "clean: the verdicts of" in board.refusals("56d8")
    assert board.run_command("leaderboard", "--out", board.folder, "--check").exit_code == 0  # which is no gate


@pytest.mark.parametrize("flipped", [1, 2, 5])
def test_attack_verdicts_that_were_set_are_refused(board, flipped):
    right = board.verdicts_of(fields := board.read())
    broken = (right["clean"] & ~right["pgd"]).nonzero()[0][:flipped]
    for name in VERDICTS:
        right[name][broken] = True
    board.write(board.with_verdicts(fields, right))

    refusals = board.refusals("56d8")

    if flipped == 1:
        what = f"the record counts image {broken[0]} as robust; with each of 30 other seeds it was broken again"
    else:
        what = f"{len(broken)} images that the record counts as robust are broken; chance explains "
    assert f"robust: a short PGD: {what}" in refusals


def test_an_artifact_of_another_row_is_refused(board):
    shutil.copy(board.artifact(1), board.artifact(0))

    assert "artifact: the file is not the one that was measured: its sha256 differs" in board.refusals("56d8")


def test_an_artifact_of_another_row_is_refused_where_the_record_names_it(board):
    mine, other = board.read(0), board.read(1)
    shutil.copy(board.artifact(1), board.artifact(0))
    mine["artifact"], mine["weights_sha256"] = other["artifact"], other["weights_sha256"]
    board.write(mine)

    refusals = board.refusals("56d8")

    assert "clean: the verdicts of" in refusals or "copies: it is a copy" in refusals


def test_a_record_without_its_artifact_is_not_green(board):
    board.artifact().unlink()

    assert "not checked: records/" in board.refusals("56d8")
    assert "artifact: it is not in artifacts/; fetch the file with sha256 " in board.refusals("56d8")


def test_without_the_data_nothing_is_green(board, monkeypatch):
    def missing(*args, **kwargs):
        raise UserError("the files of digits are not here; give --data-dir")

    monkeypatch.setattr(sources, "load_test", missing)

    refusals = board.refusals()

    assert refusals.count("not checked: records/") == 2
    assert "data: the files of digits are not here; give --data-dir" in refusals


def test_a_record_of_other_images_is_refused(board):
    fields = board.read()
    fields["dataset"]["test_sha256"] = "0" * 64
    board.write(fields)

    assert "data: test_sha256 is 000000000000, the test images of digits here have" in board.refusals("56d8")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: "{", "schema: "),
        (lambda text: text.replace('"seed": 0', '"seed": 3', 1), "schema: "),
        (lambda text: text.replace("\n", " \n", 1), "schema: "),
        (lambda text: text.replace('"started": "2026', '"started": "2046'), "numbers: started: 2046"),
        (lambda text: text.replace('"git_commit": "', '"git_commit": "<b>', 1), "texts: provenance.git_commit"),
    ],
)
def test_a_spoilt_record_is_refused_and_the_others_are_checked(board, monkeypatch, spoil, reason):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    path = board.records[0]
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")

    result = board.audit()

    assert result.exit_code == 1
    assert f"refused: records/{path.relative_to(board.folder / 'records').as_posix()}: {reason}" in result.output
    assert "record 2 of 2" in result.output and "12 verdicts are the artifact's" in result.output


def test_a_record_at_another_place_is_refused(board, monkeypatch):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    path = board.records[0]
    path.rename(path.with_name("other__seed0-56d806.json"))

    assert "place: its content belongs to" in board.refusals()


@pytest.fixture
def adversarial(board):
    """Return the test images, and for each of the first record's one that is at the edge of the ball."""
    images = load_test("digits", None, limit=12).test
    clean = as_float_images(images.images)
    moved = (clean + 20 / 255 * torch.ones_like(clean)).clamp(0, 1)
    with torch.no_grad():
        wrong = board.network(moved).argmax(1) != images.labels
    assert wrong.any() and not wrong.all(), "the tests below need images of both kinds"
    return moved, wrong.nonzero().flatten(), (~wrong).nonzero().flatten()


def test_a_challenge_that_breaks_images_passes(board, adversarial, monkeypatch):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, wrong, _ = adversarial
    right = board.verdicts_of(fields := board.read())
    new = next(place for place in wrong.tolist() if right["clean"][place])
    for name in VERDICTS:  # the attacks of this record missed an image
        right[name][new] = True
    board.write(board.with_verdicts(fields, right))
    board.challenge({"x_adv": moved[wrong], "index": wrong}, wrong.tolist())
    board.leaderboard()

    result = board.audit("56d8")

    assert result.exit_code == 0, result.output
    assert f"attack: {len(wrong)} images in the ball and in [0, 1], all misclassified" in result.output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x, places: {"index": places}, "it holds index; a challenge holds x_adv and index"),
        (lambda x, places: {"x_adv": x[:0], "index": places}, "one image in float32 for each of its places"),
        (lambda x, places: {"x_adv": x[:, :, :4], "index": places}, "x_adv is torch.float32 ("),
        (lambda x, places: {"x_adv": x * 0.5, "index": places}, "leaves the epsilon ball"),
        (lambda x, places: {"x_adv": x + 1, "index": places}, "leaves [0, 1]"),
        (lambda x, places: {"x_adv": x * float("nan"), "index": places}, "is not finite"),
        (lambda x, places: {"x_adv": x.double(), "index": places}, "x_adv is float64"),
    ],
)
def test_a_challenge_that_shows_nothing_is_refused(board, adversarial, monkeypatch, change, reason):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, wrong, _ = adversarial
    board.challenge(change(moved[wrong], wrong), wrong.tolist())

    assert reason in board.refusals("56d8")


def test_a_challenge_with_images_that_the_network_gets_right_is_refused(board, adversarial, monkeypatch):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, _, right = adversarial
    board.challenge({"x_adv": moved[right], "index": right}, right.tolist())

    assert f"attack: the network classifies {len(right)} of {len(right)} images correctly" in board.refusals("56d8")


def test_a_challenge_that_breaks_nothing_new_is_refused(board, adversarial, monkeypatch):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, wrong, _ = adversarial
    robust = torch.from_numpy(board.verdicts_of(board.read())["square"])
    broken = wrong[~robust[wrong]]
    board.challenge({"x_adv": moved[broken], "index": broken}, broken.tolist())

    assert "attack: it breaks no image that counted as robust before it" in board.refusals("56d8")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"artifact_sha256": "0" * 64},
            "artifact: the record, the challenge and the file in artifacts/ have different hashes",
        ),
        ({"images_sha256": "0" * 64}, "images: it is missing or not the file"),
        ({"date": "2000-01-01"}, "date: 2000-01-01 is before the record's run"),
        ({"date": "2999-01-01"}, "its date, 2999-01-01, is in the future"),
        ({"credit": "<b>Mallory</b>"}, "credit: '<b>Mallory</b>' holds markup"),
    ],
)
def test_a_challenge_that_contradicts_itself_is_refused(board, adversarial, monkeypatch, changes, reason):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, wrong, _ = adversarial
    path = board.challenge({"x_adv": moved[wrong], "index": wrong}, wrong.tolist(), **changes)
    if "images_sha256" in changes:
        assert path.stem.endswith("00000000")

    assert reason in board.refusals("56d8")


def test_an_audit_that_was_stopped_goes_on(board, monkeypatch):
    measured = []

    def stops_at_the_second(claim, network, images, effort, report):
        measured.append(claim.evaluation.clean_accuracy)
        if len(measured) == 2:
            raise KeyboardInterrupt
        report.note("autoattack", [], "measured")

    monkeypatch.setattr("benchmark.audit.rows.check_attacks", stops_at_the_second)

    first, second, third = board.audit(), board.audit(), board.audit()

    assert (first.exit_code, second.exit_code, third.exit_code) == (130, 0, 0)
    assert len(measured) == 2 + 1 + 2  # the finished audit is forgotten
    assert second.output.count("ok       autoattack: measured") == 2


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '[["x"], [], []]', '{"a": 1, "b": 2}', '["x", []]'])
def test_a_damaged_journal_is_no_journal(board, monkeypatch, content):
    measured = []

    def stops(claim, network, images, effort, report):
        measured.append(1)
        if len(measured) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.audit.rows.check_attacks", stops)
    assert board.audit().exit_code == 130
    (kept,) = Path("runs", "audit").rglob("*.json")
    kept.write_text(content, encoding="utf-8")

    assert board.audit().exit_code == 0
    assert len(measured) == 4


def test_what_was_missing_is_looked_for_again(board, monkeypatch):
    content, measured = board.artifact().read_bytes(), []

    def stops(claim, network, images, effort, report):
        measured.append(1)
        if len(measured) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.audit.rows.check_attacks", stops)
    board.artifact().unlink()
    assert board.audit().exit_code == 130
    board.artifact().write_bytes(content)

    assert board.audit().exit_code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("artifacts/orphan.safetensors", "the artifact belongs to no valid record"),
        ("artifacts/orphan.json", "the address of an artifact belongs to no valid record"),
        ("evil.sh", "it does not belong to a board"),
        ("records/x/a___b.json", "schema: a___b.json: it is not JSON"),
        ("evil.html", "it does not belong to a board"),
        ("site/evil.html", "site/evil.html is not a page of this board"),
    ],
)
def test_a_whole_board_has_nothing_that_does_not_belong_to_it(board, monkeypatch, name, reason):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    (board.folder / name).parent.mkdir(exist_ok=True)
    (board.folder / name).write_text("x", encoding="utf-8")

    result = board.audit()

    assert result.exit_code == 1
    assert reason in result.output
    assert result.output.count("12 verdicts are the artifact's") == 2


@pytest.mark.parametrize("place", ["artifact", "challenge"])
def test_a_link_is_refused_and_not_read(board, adversarial, monkeypatch, tmp_path, place):
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    moved, wrong, _ = adversarial
    path = board.challenge({"x_adv": moved[wrong], "index": wrong}, wrong.tolist()).with_suffix(".safetensors")
    path = board.artifact() if place == "artifact" else path
    path.rename(tmp_path / "elsewhere.safetensors")
    path.symlink_to(tmp_path / "elsewhere.safetensors")

    result = board.audit()

    assert result.exit_code == 1
    assert "it is a link, an executable or another repository" in result.output
    assert result.output.count("12 verdicts are the artifact's") >= 1


@pytest.mark.parametrize(
    ("check", "changes", "reason"),
    [
        ("black_box", {"verdict": "suspect"}, "gradient health, black_box: the record says"),
        ("unbounded", {"value": -123.5}, "gradient health, unbounded: its value is -123.5"),
    ],
)
def test_health_that_contradicts_the_verdicts_is_refused(board, check, changes, reason):
    fields = board.read()
    (stated,) = (each for each in fields["evaluation"]["health"] if each["name"] == check)
    stated.update(changes)
    board.write(fields)

    assert reason in board.refusals("56d8")


def test_robust_images_that_are_wrong_when_clean_are_refused(board):
    right = board.verdicts_of(fields := board.read())
    right["pgd"] |= ~right["clean"]
    board.write(board.with_verdicts(fields, right))

    assert "numbers: PGD counts images as robust that are wrong without any attack" in board.refusals("56d8")


def test_what_breaks_a_check_is_a_refusal(board, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("0 / 0")

    monkeypatch.setitem(auditing.CHECKS, "record", broken)

    assert "audit: a check broke off with ZeroDivisionError: 0 / 0" in board.refusals()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nothing",), "nothing"),
        (("--since", "0123456789"), "is not a commit of the git repository"),
        (("--since", "--output=x"), "is not a commit of the git repository"),
        (("56d8", "--since", "HEAD"), "not both"),
    ],
)
def test_a_mistake_of_the_call_is_one_sentence(board, options, message):
    result = board.audit(*options)

    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_a_board_that_is_not_there_is_a_mistake(board, tmp_path):
    result = board.run_command("audit", "--out", tmp_path / "none")

    assert isinstance(result.exception, UserError)


@pytest.fixture
def evaluation(board, monkeypatch):
    """Return the file of an evaluation of the first artifact: its record's verdicts, with a curve."""
    monkeypatch.setattr("benchmark.audit.rows.check_attacks", lambda *args: None)
    fields = board.read()
    machine = {
        "seconds": 1.0,
        **{name: fields["provenance"][name] for name in ("torch", "device", "threads", "started")},
    }
    evaluated = {name: fields[name] for name in ("artifact", "protocol", "evaluation")}
    evaluated |= {"schema_version": 1, "test_sha256": fields["dataset"]["test_sha256"], "machine": machine}
    evaluated |= {"shard": None, "curve": None, "curve_area": None}
    path = board.folder / "evaluations" / f"{fields['artifact']['sha256'][:12]}__{fields['protocol']}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(evaluated), encoding="utf-8")
    made = board.run_command(
        *("evaluate", board.artifact(), "--protocol", fields["protocol"], "--curve", "--out", board.folder)
    )
    assert made.exit_code == 0, made.output
    return path


def test_an_evaluation_is_measured_again(board, evaluation):
    result = board.audit()

    assert result.exit_code == 0, result.output
    assert "points measured again (--draw " in result.output


def _raised(fields):
    for point in fields["curve"][1:3]:
        point["accuracy"] = fields["curve"][0]["accuracy"]
    points = fields["curve"]
    area = sum((b["epsilon"] - a["epsilon"]) * (a["accuracy"] + b["accuracy"]) / 2 for a, b in pairwise(points))
    fields["curve_area"] = area / (points[-1]["epsilon"] - points[0]["epsilon"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_raised, "curve: accuracy at epsilon 0.0"),
        (lambda fields: fields.update(curve_area=0.9), "numbers: curve_area is 0.9, its points give"),
        (lambda fields: fields["artifact"].update(sha256="0" * 64), "the file is not named after its artifact"),
        (lambda fields: fields["artifact"].update(statistics="float16"), "the file is not the one that was measured"),
        (lambda fields: fields["machine"].update(started="2999-01-01T00:00:00+00:00"), "is not possible"),
        (lambda fields: fields.update(shard={"index": 1, "count": 2}), "numbers: it is a shard"),
        (lambda fields: fields["curve"].pop(), "the radii of its curve are not those of its protocol"),
        (lambda fields: fields["evaluation"]["pgd"].update(steps=50), "its attacks are not those of"),
        (lambda fields: fields.update(test_sha256="0" * 64), "data: test_sha256 is 000000000000"),
    ],
)
def test_an_evaluation_that_was_edited_is_refused(board, evaluation, change, reason):
    fields = json.loads(evaluation.read_text(encoding="utf-8"))
    change(fields)
    evaluation.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    assert reason in board.refusals()
