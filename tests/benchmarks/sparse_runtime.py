"""Compares the sparse form of networks with the dense one: verdicts on rows of a board, latency. No test; run by hand.

    python tests/benchmarks/sparse_runtime.py verdicts [ROW ...] --data-dir FOLDER
    python tests/benchmarks/sparse_runtime.py latency [ROW ...]

`latency` times forward passes on one thread, for rows or, if none is given, for a random ResNet34 of full width as
edge-popup makes it: 1% kept, p=0.1. Torch computes the folded copy in channels_last. Runtimes take turns, a few passes
each. Errors are those of the logits, by norm, relative to the stored network in float64.

`verdicts` attacks rows again, with the settings of their records and in the sparse form, and compares six bits for each
image (clean, PGD and the four stages of AutoAttack) with those of the record, which dense attacks have given. Rows
whose network is attacked in its dense form are left out. Exit code 1 if any bit differs.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from benchmark.evaluation.accuracy import clean_verdicts, prepare
from benchmark.evaluation.fast import ComputeBatch, fold, sparse_copy
from benchmark.evaluation.protocol_attacks import protocol_attacks
from benchmark.leaderboard.board.find import find_records
from benchmark.networks.resnet import NetworkPlan
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.store import load_all
from benchmark.review.latencies import available_runtimes
from benchmark.review.sources import artifact_of, test_data_of
from benchmark.runtime.provenance import device_name
from methods.base import Target
from methods.edge_popup import EdgePopup

BOARD = Path(__file__).resolve().parents[2] / "leaderboards"
PGD_SEED = 0
ROUNDS, SECONDS = 30, 15  # of the runtimes' turns for one batch: as many rounds as fit, at least three
BURST = 0.02  # seconds of passes in a turn, at least one pass
FOLDED, SPARSE = "torch, batch norms folded", "sparse"


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


def random_network() -> nn.Module:
    """Return a random ResNet34 of full width that keeps 1% of its weights, with batch norms that have seen images."""
    torch.manual_seed(0)
    method, plan = EdgePopup(), NetworkPlan("resnet34", 10, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), width=1.0)
    model = method.build(plan, Target(keep_ratio=0.01, weights="binary", allocation=0.1)).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(32, 3, 32, 32))
    return method.export(model.eval()).eval()


def show_latency(name: str, network: nn.Module) -> None:
    """Print median times of an image in each runtime, ratios to the sparse form, and errors."""
    channels = next(network.parameters()).shape[1]
    runtimes = available_runtimes(network, channels, (32, 32), torch.device("cpu"))
    del runtimes["torch"]  # without folding: slower than its folded copy
    for count in (1, 64):
        images = torch.rand(count, channels, 32, 32, generator=torch.Generator().manual_seed(count))
        exact = copy.deepcopy(network).double()(images.double())
        errors = {
            each: float((torch.as_tensor(run(images)).double() - exact).norm() / exact.norm())
            for each, run in runtimes.items()
        }
        seconds = turns(runtimes, images.contiguous(memory_format=torch.channels_last))
        for each, value in seconds.items():
            ratio = value / seconds[SPARSE]
            print(f"{name}, batch {count}: {each} {value / count * 1e3:.3f} ms an image", end="")
            print(f" ({ratio:.2f} times that of the sparse form), error {errors[each]:.1e}", flush=True)
        print(f"{name}, batch {count}: error {errors[SPARSE] / errors[FOLDED]:.2f} times that of torch")


def turns(runtimes: dict, images: torch.Tensor) -> dict[str, float]:
    """Return the median seconds of a pass by runtime."""
    passes: dict[str, list[float]] = {name: [] for name in runtimes}
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds < ROUNDS and time.perf_counter() - started < SECONDS):
        for name, run in runtimes.items():
            run(images)
            turn = before = time.perf_counter()
            while before - turn < BURST:
                run(images)
                now = time.perf_counter()
                passes[name].append(now - before)
                before = now
        rounds += 1
    return {name: statistics.median(values) for name, values in passes.items()}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["verdicts", "latency"])
    parser.add_argument(
        "rows", nargs="*", help="hashes of runs; verdicts: all rows with at most --images images if none is given"
    )
    parser.add_argument("--data-dir", type=Path, help="of `verdicts`")
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = [each for each in load_all(BOARD) if isinstance(each, Record)]
    if arguments.command == "latency":
        place = f"{device_name(torch.device('cpu'))}, {torch.backends.cpu.get_cpu_capability()}"
        print(f"{place}, one thread, torch {torch.__version__}")
        networks = {row: artifact_of(find_records(records, row)[0], BOARD).network for row in arguments.rows}
        with torch.no_grad():
            for name, network in (networks or {"random ResNet34": random_network()}).items():
                show_latency(name, prepare(network, "cpu").eval())
        return 0
    if arguments.data_dir is None:
        parser.error("verdicts needs --data-dir")
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
