"""`benchmark.compare` and `benchmark.reproduce`: two rows image by image, and one row measured again."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

from benchmark.api.places import board_folder, checked_protocol_id, optional_path, row_name, row_record
from benchmark.evaluation.arguments import checked_report
from benchmark.leaderboard.board.compare import compare_rows
from benchmark.leaderboard.board.comparison import Comparison
from benchmark.leaderboard.board.find import find_pair
from benchmark.results.challenges import best_known_records
from benchmark.review.reproducing import Reproduction, reproduce_record


def compare(a: str, b: str, *, board: str | PathLike[str] | None = None, protocol: str | None = None) -> Comparison:
    """Compare two rows image by image, with the exact McNemar test of their difference.

    Args:
        a: a run, four or more hex digits of its hash (column `id` of the boards), or a part of its cell's name that
            fits one row only, for all its seeds; hashes joined by commas name the seeds of one row.
        b: another row of the same board.
        board: folder of results that holds records/; None for the project's own.
        protocol: id of the board, if both rows are on several.

    Raises:
        UserError: if a row is unknown or ambiguous, or the two cannot be compared.
    """
    folder, chosen = board_folder(board), checked_protocol_id(protocol)
    pair = find_pair(best_known_records(folder), row_name(a, "a"), row_name(b, "b"), protocol=chosen)
    return compare_rows(*pair)


def reproduce(
    row: str,
    *,
    board: str | PathLike[str] | None = None,
    protocol: str | None = None,
    quick: bool = False,
    data_dir: str | PathLike[str] | None = None,
    device: str = "auto",
    report: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Measure the artifact of a row again, and compare it with its record verdict by verdict.

    Args:
        row: as for `benchmark.compare`, of one seed.
        board: folder of results that holds records/ and artifacts/; None for the project's own.
        protocol: id of the board, if the row is on several.
        quick: measure only the first 200 images.
        data_dir: folder with the data set's files; None for `data` in the current folder.
        device: "auto", "cpu" or "cuda".
        report: receives progress lines, such as `print`.

    Raises:
        UserError: if the row is unknown or ambiguous, or its artifact or data are missing or are not the record's.
    """
    folder = board_folder(board)
    record = row_record(row, folder, protocol)
    place = optional_path(data_dir, "data_dir")
    return reproduce_record(record, folder, quick=quick, data_dir=place, device=device, say=checked_report(report))
