"""The lower half of a board's Markdown page: what the ranked networks cost, doubts about gradients, challenges."""

from __future__ import annotations

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import amount, duration, markdown, short, table

_COLUMNS = (
    *("id", "method", "precision", "file", "entropy bound", "dense", "bits per weight", "norm statistics", "density"),
    *("density of all", "dense MACs", "sparse MACs", "bit-operations", "training passes", "training time"),
    *("batch 1", "batch 64", "device"),
)
_LEGEND = (
    "*file*: bytes of the artifact, from which the network was read and measured. *entropy bound*: what an ideal "
    "coder would need; masks in the file are coded by rANS, binary weights with one bit. *dense*: all parameters in "
    "float32. *bits per weight*: of the file, over prunable weights. *density*: kept over prunable weights; *of all*:"
    " what is kept or not pruned, over all parameters. *MACs*: multiply-adds of the convolutions for one image, all "
    "of them or those with weights that are not zero; *bit-operations*: sparse MACs times the bits of a weight times "
    "the 32 bits of an activation. These are theory: *batch 1* and *batch 64* are measured forward runs in the dense "
    "runtime, which profits from no zero, on the device and with the threads shown. Training time includes what else "
    "that machine did; a network that an earlier record has too was trained where the row's page says."
)


def cost_blocks(board: Board) -> list[str]:
    """Return the blocks of the page below its rankings; none for a board without ranked rows."""
    blocks = []
    if board.rows:
        blocks += ["## Size and cost", _LEGEND, table(_COLUMNS, [_costs(row) for row in board.rows])]
    if doubts := [[row.id, markdown(row.method), markdown(text)] for row in board.rows for text in row.doubts]:
        blocks += ["## Suspect gradients", table(("id", "method", "check"), doubts)]
    if board.challenges:
        lines = [
            [markdown(each.run), str(len(each.broken)), markdown(each.credit), each.date.isoformat()]
            for each in board.challenges
        ]
        blocks += [
            "## Challenges",
            "Adversarial images that others found; they lower *robust*, not AutoAttack's own number.",
            table(("run", "images broken", "credit", "date"), lines),
        ]
    return blocks


def _costs(row: Row) -> list[str]:
    costs = row.costs
    return [
        row.id,
        markdown(row.method),
        row.weights,
        f"{costs.size_bytes:,} B",
        f"{costs.entropy_bound_bytes:,} B",
        amount(costs.dense_bytes, "B"),
        short(costs.bits_per_weight),
        costs.statistics,
        short(costs.density),
        short(costs.density_all),
        *(amount(value) for value in (costs.dense_macs, costs.sparse_macs, costs.bit_operations, costs.passes)),
        duration(costs.train_seconds),
        *("-" if value is None else duration(value) for value in (costs.latency_1, costs.latency_64)),
        markdown(f"{costs.device}, {costs.threads} thread{'s' if costs.threads > 1 else ''}"),
    ]
