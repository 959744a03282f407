"""What the figures of edge-popup's ablations share: rows alike in all but what is varied, and the accuracy shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmark.leaderboard.board.reference import PAPERS_METHOD
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.setting import setting_of
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.figure_plans.data import interval_text
from benchmark.results.evaluation import wide_parts


@dataclass(frozen=True)
class Measure:
    """Which robust accuracy a figure shows, and what it is called."""

    title: str  # begins a title
    caption: str  # begins a caption
    axis: str
    note: str  # ends a caption; may be empty
    n_images: int
    wide: bool  # PGD's on more images than the protocol's

    def of(self, row: Row) -> tuple[float, float, float]:
        """Return the row's mean over its seeds and the ends of its 95% interval, in [0, 1]."""
        if self.wide and row.wide is not None:
            return (row.wide.pgd.mean, *row.wide.pgd_interval)
        return (row.robust.mean, *row.interval)

    def text(self, row: Row) -> str:
        """Return that mean and its interval as text, and beside PGD's the accuracy that ranks the row."""
        ranked = f"; best-known robust {interval_text(row.robust.mean, *row.interval)}" if self.wide else ""
        return f"{interval_text(*self.of(row))}{ranked}{'; off the board' if row.reasons else ''}"


def measure_of(board: Board, rows: Sequence[Row]) -> Measure:
    """Choose what a figure of some rows shows: PGD on more images where all have it, else what ranks them.

    AutoAttack is affordable on few images only, whose intervals hide the effect of an option; PGD shows it on many.
    """
    parts = wide_parts(record.evaluation for row in rows for record in row.records)
    doubt = " Rows off the board failed gradient health; these accuracies are upper bounds."
    beyond = doubt if any(row.reasons for row in rows) else ""
    if not parts:
        return Measure(
            title="Robust accuracy",
            caption="Best-known robust accuracy",
            axis="best-known robust accuracy",
            note=beyond,
            n_images=board.n_images,
            wide=False,
        )
    n_images = parts[0].n_images
    return Measure(
        title=f"PGD-{board.pgd_steps} accuracy",
        caption=f"PGD-{board.pgd_steps} accuracy",
        axis=f"PGD-{board.pgd_steps} accuracy, {n_images:,} images",
        note=(
            f" PGD is shown, because AutoAttack ran on {board.n_images:,} of these images only; the intervals of "
            "best-known robust accuracy are wider. PGD is the weaker attack: on the same images robust accuracy is at "
            f"most this high.{beyond}"
        ),
        n_images=n_images,
        wide=True,
    )


def with_doubtful(board: Board, preset: str, rows: Sequence[Row]) -> list[Row]:
    """Return ranked rows and those refused for their gradient health: an ablation without its failures would mislead.

    Refused seeds of one setting are rows of their own: the first is taken, where none is ranked.
    """
    by_setting = {setting_of(row.records[0]): row for row in rows}
    for row in board.doubtful:
        if row.preset == preset:
            by_setting.setdefault(setting_of(row.records[0]), row)
    return list(by_setting.values())


def alike_groups(rows: Iterable[Row], alike: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    """Return edge-popup's rows in groups of equal `alike`, each with a short name of what they have in common."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.method == PAPERS_METHOD:
            groups.setdefault(alike(row), []).append(row)
    return [(hashlib.sha256(common.encode()).hexdigest()[:6], group) for common, group in sorted(groups.items())]


def norm_text(last_norm: bool) -> str:
    """Return in words whether the network has LBN, a batch norm on its logits."""
    return "with LBN" if last_norm else "without LBN"
