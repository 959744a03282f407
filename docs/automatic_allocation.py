"""Computes the tables of docs/automatic-allocation.md: what fixed exponents p let one expect, and results.

    python docs/automatic_allocation.py

prints them as Markdown. The automatic allocation is compared through the exponent whose layer budgets are closest to
it; between two measured exponents, accuracy is interpolated linearly. Only the last table has networks trained with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmark.leaderboard.board.reference import load_reported
from benchmark.leaderboard.formats import allocation
from benchmark.networks.resnet import NetworkPlan, prunable_sizes
from benchmark.results.record import Record
from benchmark.results.store import load_records
from methods.allocation import closest_exponent
from methods.auto_allocation import DEFAULT_C

ROOT = Path(__file__).resolve().parents[1]
PROTOCOL = "cifar10-jpeg-linf-8_255-pgd20x1-aa-standard-200"
TRAINED = "fashion-mnist-linf-26_255-aa-standard-200"
CONSTANTS = (0.005, 0.0117, 0.017, DEFAULT_C, 0.052, 0.105, 0.14)

Accuracies = Mapping[float, Mapping[float, float]]  # in percent, by keep ratio and exponent


def reported() -> Accuracies:
    """Return the paper's 49 cells: AutoAttack accuracy of binary edge-popup on ResNet34 with LBN, CIFAR10."""
    cells: dict[float, dict[float, float]] = {}
    for row in load_reported(ROOT / "leaderboards" / "reference" / "reported_ablations.csv"):
        if row.last_norm and row.options == {} and isinstance(row.allocation, float):
            cells.setdefault(row.keep_ratio, {})[row.allocation] = 100 * row.robust
    return cells


def measured() -> Accuracies:
    """Return our 16 cells: accuracy under PGD-20 on 2,000 images, ResNet10 of a quarter of the width, CIFAR10-JPEG."""
    cells: dict[float, dict[float, float]] = {}
    for record in load_records(ROOT / "leaderboards"):
        network, method, kept, wide = (
            record.architecture,
            record.method,
            record.compression,
            record.evaluation.wide,
        )
        setting = (record.protocol, network.name, network.width, network.last_norm, method.name, method.objective)
        if setting != (PROTOCOL, "resnet10", 0.25, True, "edge_popup", "pgd") or method.options or wide is None:
            continue
        if kept.weights == "binary" and isinstance(kept.allocation, float) and record.seed == 0:
            accuracy = 100 * wide.pgd_accuracy
            cells.setdefault(kept.keep_ratio, {})[kept.allocation] = accuracy
    return {keep_ratio: row for keep_ratio, row in cells.items() if len(row) > 2}


def interpolated(row: Mapping[float, float], p: float) -> float:
    """Return the accuracy at an exponent, linear between the measured ones around it."""
    low, high = max(q for q in row if q <= p), min(q for q in row if q >= p)
    return row[low] if low == high else row[low] + (row[high] - row[low]) * (p - low) / (high - low)


def table(cells: Accuracies, network: str, width: float) -> list[str]:
    """Return a table as lines of Markdown, one column a keep ratio, and another of the mean by constant."""
    sizes = list(prunable_sizes(NetworkPlan(network, 10, (0.0,) * 3, (1.0,) * 3, width, True)).values())
    ratios = sorted(cells, reverse=True)
    exponents = sorted(set.intersection(*(set(cells[ratio]) for ratio in ratios)))

    def automatic(c: float) -> list[tuple[float, float]]:
        """Return the closest exponent, and the accuracy there, for each keep ratio."""
        closest = [closest_exponent(sizes, ratio, c) for ratio in ratios]
        return [
            (p, interpolated(cells[ratio], min(max(p, exponents[0]), exponents[-1])))
            for ratio, p in zip(ratios, closest, strict=True)
        ]

    best = [max(cells[ratio], key=cells[ratio].__getitem__) for ratio in ratios]
    oracle = [max(cells[ratio].values()) for ratio in ratios]
    fixed = max(exponents, key=lambda p: fmean(cells[ratio][p] for ratio in ratios))
    points = automatic(DEFAULT_C)
    lines = [
        _line("keep ratio", [f"{ratio:g}" for ratio in ratios], "mean"),
        "| --- " * (len(ratios) + 2) + "|",
        _line("best p measured", [f"{p:g}" for p in best], ""),
        _accuracies("accuracy there", oracle),
        _accuracies(f"accuracy at the best fixed p, {fixed:g}", [cells[ratio][fixed] for ratio in ratios]),
        _line(f"p closest to `auto`, c = {DEFAULT_C:g}", [f"{p:.2f}" for p, _ in points], ""),
        _accuracies("accuracy interpolated there", [accuracy for _, accuracy in points]),
    ]
    means = [f"{fmean(accuracy for _, accuracy in automatic(c)):.2f}" for c in CONSTANTS]
    lost = max(best_here - accuracy for best_here, (_, accuracy) in zip(oracle, points, strict=True))
    return [
        *lines,
        "",
        f"The largest loss to the best p is {lost:.2f} points. By the constant, the interpolated mean is:",
        "",
        f"| c | {' | '.join(f'{c:g}' for c in CONSTANTS)} |",
        "| --- " * (len(CONSTANTS) + 1) + "|",
        f"| mean | {' | '.join(means)} |",
    ]


def _accuracies(title: str, values: Sequence[float]) -> str:
    return _line(title, [f"{value:.2f}" for value in values], f"{fmean(values):.2f}")


def _line(title: str, cells: Sequence[str], last: str) -> str:
    return f"| {' | '.join([title, *cells, last])} |"


def trained() -> list[str]:
    """Return the table of networks trained with the allocation and beside it: means over the seeds, in percent."""
    rows: dict[tuple[float, str], list[Record]] = {}
    for record in load_records(ROOT / "leaderboards"):
        kept = record.compression
        if (record.protocol, record.method.name, kept.granularity) == (TRAINED, "edge_popup", "weight"):
            rows.setdefault((kept.keep_ratio, allocation(kept.keep_ratio, kept.allocation)), []).append(record)
    lines = [
        "| keep ratio | p | seeds | clean, 2,000 images | PGD-50, 2,000 images | robust, 200 images | file |",
        "| --- " * 7 + "|",
    ]
    for (keep_ratio, p), seeds in sorted(rows.items(), key=lambda row: row[0]):
        wide = [record.evaluation.wide for record in seeds if record.evaluation.wide is not None]
        clean, pgd = (
            100 * fmean(part.clean_accuracy for part in wide),
            100 * fmean(part.pgd_accuracy for part in wide),
        )
        robust = 100 * fmean(record.evaluation.best_known_accuracy for record in seeds)
        size = fmean(record.artifact.size_bytes for record in seeds) / 1000
        accuracies = f"{clean:.2f} | {pgd:.2f} | {robust:.2f}"
        lines.append(f"| {keep_ratio:g} | {p} | {len(seeds)} | {accuracies} | {size:.1f} kB |")
    return lines


def tables() -> tuple[str, str, str]:
    """Return the tables: from the paper's cells, from ours at fixed exponents, and of what was trained since."""
    fixed = table(reported(), "resnet34", 1.0), table(measured(), "resnet10", 0.25)
    return "\n".join(fixed[0]), "\n".join(fixed[1]), "\n".join(trained())


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
