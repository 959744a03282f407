"""Compares the sparse form of networks with the dense one: verdicts on rows of a board. No test; run by hand.

    python tests/benchmarks/sparse_runtime.py verdicts [ROW ...] --data-dir FOLDER

Attacks rows again, with the settings of their records and in the sparse form, and compares six bits for each image
(clean, PGD and the four stages of AutoAttack) with those of the record, which dense attacks have given. Rows whose
network is attacked in its dense form are left out. Exit code 1 if any bit differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmark.evaluation.accuracy import clean_verdicts, prepare
from benchmark.evaluation.fast import ComputeBatch, fold, sparse_copy
from benchmark.evaluation.protocol_attacks import protocol_attacks
from benchmark.leaderboard.board.find import find_records
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import load_all
from benchmark.review.sources import artifact_of, test_data_of

BOARD = Path(__file__).resolve().parents[2] / "leaderboards"
PGD_SEED = 0


def differences(record: Record, data_dir: Path) -> int | None:
    """Attack one row again; return how many of its bits differ, None if it has no sparse form."""
    network = prepare(artifact_of(record, BOARD).network, "cpu").eval()
    folded = fold(network)
    if folded is None or sparse_copy(folded)[0] is None:
        return None
    evaluation, protocol = record.evaluation, Protocol.parse(record.protocol)
    data = test_data_of(record, data_dir, evaluation.n_images)
    batch, compute = evaluation.autoattack.batch_size, ComputeBatch(print)
    started = time.process_time()
    pgd, attacked = protocol_attacks(
        network,
        data.test,
        protocol,
        classes=record.dataset.num_classes,
        pgd_seed=PGD_SEED,
        batch_size=batch,
        compute=compute,
        journal=None,
        report=lambda line: None,
    )
    seconds = time.process_time() - started
    measured = {"clean": clean_verdicts(network, data.test, batch_size=batch), "pgd": pgd, **attacked.robust}
    total, shown = 0, []
    for name, bits in measured.items():
        differ = (bits.numpy() != evaluation.right(name)).nonzero()[0].tolist()
        total += len(differ)
        shown.append(f"{name} {int(bits.sum())}" + (f" (differs at {differ})" if differ else ""))
    dense = evaluation.autoattack.seconds
    name = f"{record.run_hash[:6]} {record.protocol}"
    print(f"{name}: {total} of {len(measured) * len(pgd)} bits differ; {', '.join(shown)}; ", end="")
    print(f"{seconds:.0f} s of processor time, AutoAttack of the record took {dense:.0f} s", flush=True)
    return total


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["verdicts"])
    parser.add_argument(
        "rows", nargs="*", help="hashes of runs; all rows with at most --images images if none is given"
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = [each for each in load_all(BOARD) if isinstance(each, Record)]
    if arguments.rows:
        records = [each for row in arguments.rows for each in find_records(records, row)]
    chosen = [each for each in records if each.evaluation.n_images <= arguments.images]
    counts = [differences(record, arguments.data_dir) for record in chosen]
    compared = [count for count in counts if count is not None]
    left_out = len(counts) - len(compared)
    print(f"{len(compared)} rows in their sparse form, {left_out} left out: {sum(compared)} bits differ")
    return 1 if any(compared) else 0


if __name__ == "__main__":
    sys.exit(main())
