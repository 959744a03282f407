"""Times AutoAttack, stage by stage, and PGD-50 on a row of a board with the code of one checkout. No test; run by hand.

    PYTHONPATH=CHECKOUT python tests/benchmarks/autoattack.py run ROW --data-dir FOLDER --out new.json
    python tests/benchmarks/autoattack.py compare old.json new.json

`run` imports `benchmark` from the checkout that PYTHONPATH names, so that the code of two commits can be run in turn;
it writes processor and wall seconds and one verdict for each image. `--what plain` times one call of the package on the
network as it is stored. `compare` shows ratios, and exits with 1 if any verdict differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

PGD_STEPS = 50
BOARD = Path(__file__).resolve().parents[2] / "leaderboards"


class Stopwatch:
    """Notes processor and wall seconds between two calls."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self._before = (time.process_time(), time.perf_counter())

    def note(self, stage: str, verdicts: list[bool]) -> None:
        """Book the time since the last call under a stage."""
        now = (time.process_time(), time.perf_counter())
        processor, wall = (round(end - begin, 3) for begin, end in zip(self._before, now, strict=True))
        self.stages[stage] = {"processor": processor, "wall": wall, "verdicts": verdicts}
        self._before = now


def run(arguments: argparse.Namespace) -> None:
    """Attack a row and write the times and verdicts."""
    import torch

    from benchmark.bench.yardstick.evaluation import plain_autoattack
    from benchmark.data.load import Images
    from benchmark.evaluation.accuracy import pgd_verdicts, prepare
    from benchmark.evaluation.autoattack import autoattack
    from benchmark.evaluation.fast import ComputeBatch
    from benchmark.leaderboard.board.find import find_records
    from benchmark.results.protocol import Protocol
    from benchmark.results.record import Record
    from benchmark.results.store import load_all
    from benchmark.review.sources import artifact_of, test_data_of

    torch.set_num_threads(arguments.threads)
    records = [each for each in load_all(arguments.board) if isinstance(each, Record)]
    record = find_records(records, arguments.row)[0]
    epsilon = float(Fraction(Protocol.parse(record.protocol).epsilon))
    network = artifact_of(record, arguments.board).network.eval()
    test = test_data_of(record, arguments.data_dir, arguments.first + arguments.images).test
    images, labels = test.images[arguments.first :], test.labels[arguments.first :]
    data = Images(images, labels)
    if arguments.what != "plain":
        network = prepare(network, "cpu")
        prepared = Images(images[:16], labels[:16])  # compiles kernels or reads them
        pgd_verdicts(
            network, prepared, epsilon=epsilon, step_size=epsilon / 4, steps=1, restarts=1, seed=0, batch_size=16
        )
    watch = Stopwatch()
    if arguments.what == "pgd":
        verdicts = pgd_verdicts(
            network,
            data,
            epsilon=epsilon,
            step_size=epsilon / 4,
            steps=PGD_STEPS,
            restarts=1,
            seed=0,
            batch_size=256,
            compute=ComputeBatch(print),
        )
        watch.note("pgd", verdicts.tolist())
    elif arguments.what == "plain":
        robust = plain_autoattack(network, images.float() / 255, labels, epsilon=epsilon, seed=0, batch_size=256)
        watch.note("all", robust.tolist())
    else:

        def report(line: str) -> None:
            print(f"{time.process_time():7.1f} {line}", flush=True)
            if line.startswith("autoattack  ") and "at most" in line and " pass " not in line:
                watch.note(line.split()[1], [])

        settings: dict[str, Any] = {"num_classes": record.dataset.num_classes, "epsilon": epsilon, "seed": 0}
        result = autoattack(network, data, batch_size=256, report=report, **settings)
        for attack, robust in result.robust.items():
            if attack in watch.stages:
                watch.stages[attack]["verdicts"] = robust.tolist()
            else:
                watch.note(attack, robust.tolist())  # nothing was left to attack
    arguments.out.write_text(json.dumps({"row": arguments.row, "what": arguments.what, "stages": watch.stages}))
    shown = ", ".join(f"{name} {each['processor']:.2f} s" for name, each in watch.stages.items())
    total = sum(each["processor"] for each in watch.stages.values())
    print(f"{arguments.row} {arguments.what}: {shown}; in all {total:.2f} s of processor time")


def compare(old: Path, new: Path) -> int:
    """Show how many times as fast the second is; return how many verdicts differ."""
    before, after = (json.loads(path.read_text())["stages"] for path in (old, new))
    differ = 0
    for stage in after if before.keys() == after.keys() else list(after)[-1:]:
        earlier = before.get(stage, before.get("all"))
        pairs = zip(earlier["verdicts"], after[stage]["verdicts"], strict=True)
        wrong = [number for number, (one, other) in enumerate(pairs) if one != other]
        differ += len(wrong)
        if before.keys() == after.keys():
            print(f"{stage}: {earlier['processor'] / after[stage]['processor']:.2f} times as fast; differs at {wrong}")
        else:
            print(f"the verdicts after {stage} differ at {wrong}")
    for clock in ("processor", "wall"):
        totals = [sum(each[clock] for each in stages.values()) for stages in (before, after)]
        print(f"in all, {clock} time: {totals[0]:.1f} -> {totals[1]:.1f} s, {totals[0] / totals[1]:.2f} times as fast")
    return differ


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = commands.add_parser("run")
    timed.add_argument("row", help="hash of a run")
    timed.add_argument("--what", choices=["autoattack", "plain", "pgd"], default="autoattack")
    timed.add_argument("--data-dir", type=Path)
    timed.add_argument("--board", type=Path, default=BOARD, help="folder with records and artifacts")
    timed.add_argument("--out", type=Path, required=True)
    timed.add_argument("--images", type=int, default=64)
    timed.add_argument("--first", type=int, default=0, help="number of the first image")
    timed.add_argument("--threads", type=int, default=1)
    compared = commands.add_parser("compare")
    compared.add_argument("files", type=Path, nargs=2)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments)
        return 0
    return 1 if compare(*arguments.files) else 0


if __name__ == "__main__":
    sys.exit(main())
