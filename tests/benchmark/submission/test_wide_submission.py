"""A submission may carry PGD on more images: images and clean verdicts are checked, PGD runs again on a drawn part."""

from __future__ import annotations

import json
import shutil

from benchmark.data.load import load_test
from benchmark.evaluation.further_images import widen
from benchmark.results.record import Record
from benchmark.results.store import load_records, save_record
from benchmark.results.verdicts import pack_verdicts, unpack_verdicts
from benchmark.review.reproducing import Reproduction, reproduction_text


def widened(record, network, count=16):
    """Return the record as a run with evaluation.pgd.images would have left it."""
    images = load_test("digits", None, limit=count).test
    evaluation = widen(network, record.evaluation, images, device="cpu", batch_size=500)
    fields = record.model_dump(mode="json")
    fields["evaluation"] = evaluation.model_dump(mode="json")
    fields["provenance"]["config"]["evaluation"]["pgd"]["images"] = count
    return Record(**fields)


def test_submit_verify_and_accept_keep_the_part(run, rows, honest_result, forger, tmp_path):
    folder, board = tmp_path / "rows", tmp_path / "board"
    board.mkdir()
    shutil.copytree(rows / "artifacts", folder / "artifacts")
    plain = next(record for record in load_records(rows) if "/at/" in record.run)
    record = widened(plain, forger.artifact.network)
    save_record(record, folder)

    made = run("submit", "/at/", "--out", folder, "--to", tmp_path / "new", "--board", board, "--credit", "A. L.")
    result = run("verify", tmp_path / "new", "--board", board, "--seconds", 1, "--accept")

    assert made.exit_code == 0, made.output
    assert result.exit_code == 0, result.output
    assert "wide: PGD ran on 16 test images" in result.output
    assert "images that are right, 0 verdicts differ" in result.output
    assert "clean: all 16 verdicts are the artifact's" in result.output
    assert load_records(board) == [record]
    assert "wide" not in run("verify", honest_result, "--board", tmp_path / "rows", "--seconds", 1).output


def flip_clean(wide):
    """Turn the clean verdict of a further image that PGD breaks anyway."""
    right, robust = (unpack_verdicts(wide["verdicts"][name], 16).copy() for name in ("clean", "pgd"))
    place = int((~robust[8:]).nonzero()[0][0]) + 8
    right[place] = not right[place]
    wide["verdicts"]["clean"], wide["clean_accuracy"] = pack_verdicts(right), int(right.sum()) / 16


def test_other_images_wrong_bits_and_an_unasked_part_are_refused(forger):
    honest = json.loads(widened(Record(**forger.read()), forger.artifact.network).model_dump_json())

    def reasons(change):
        record = json.loads(json.dumps(honest))
        change(record)
        forger.rehash(record)
        return "\n".join(forger.verify(seconds=1).reasons)

    assert "wide: test_sha256 is 000000000000" in reasons(
        lambda record: record["evaluation"]["wide"].update(test_sha256="0" * 64)
    )
    assert "numbers: images of PGD" in reasons(
        lambda record: record["provenance"]["config"]["evaluation"]["pgd"].pop("images")
    )
    assert "numbers: images of PGD" in reasons(lambda record: record["evaluation"].pop("wide"))
    reason_text = reasons(lambda record: flip_clean(record["evaluation"]["wide"]))
    assert "clean: the verdicts of 1 clean images are not those of the artifact" in reason_text


def test_reproduce_says_that_it_did_not_measure_them_again(forger):
    record = Record(**forger.read())

    texts = [
        reproduction_text(Reproduction(each, 8, (), ())) for each in (record, widened(record, forger.artifact.network))
    ]

    assert ["PGD on 16 images, shown beside the row, was not measured again" in text for text in texts] == [False, True]
