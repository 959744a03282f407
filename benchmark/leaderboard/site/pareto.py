"""Robust accuracy against what it costs, as inline SVG: one dot per row, the Pareto front as a staircase."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from benchmark.leaderboard.board.rows import Front, Row
from benchmark.leaderboard.formats import amount, percent
from benchmark.leaderboard.site.svg_axes import Box, grid, linear, logarithmic
from benchmark.leaderboard.ticks import log_ticks, ticks

_WIDTH, _HEIGHT = 640, 320
_BOX = Box(left=44, top=30, right=_WIDTH - 26, bottom=_HEIGHT - 40)
_TITLES: dict[Front, str] = {"size": "size of the artifact file", "passes": "training passes, images"}


def pareto_plot(rows: Sequence[Row], anchors: Sequence[str], front: Front) -> Markup:
    """Return the picture of one preset's rows; each dot links to its row on the same page.

    Args:
        rows: at least one, all of one preset.
        anchors: names of the rows on the page.
        front: what the horizontal, logarithmic axis shows.
    """
    costs = [max(1.0, _cost(row, front)) for row in rows]  # a network that was not trained has no logarithm
    low, high = min(costs) / 1.25, max(costs) * 1.25
    top = max(max(row.robust.mean for row in rows), *(row.interval[1] for row in rows if front in row.fronts)) * 1.05
    top = min(1.0, max(top, 0.05))
    to_x = logarithmic(low, high, _BOX.left, _BOX.right)
    to_y = linear(0, top, _BOX.bottom, _BOX.top)
    unit = "B" if front == "size" else ""
    parts = [
        f'<svg class="pareto" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" '
        f'aria-label="Robust accuracy against {_TITLES[front]}">',
        grid(
            _BOX,
            [(to_x(tick), _plain(tick, unit)) for tick in log_ticks(low, high)],
            [(to_y(tick), f"{100 * tick:g}") for tick in ticks(0, top)],
            x_title=f"{_TITLES[front]} (log)",
            y_title="robust accuracy, %",
        ),
    ]
    points = [(to_x(cost), to_y(row.robust.mean)) for cost, row in zip(costs, rows, strict=True)]
    best = sorted({point for point, row in zip(points, rows, strict=True) if front in row.fronts})
    parts.append(f'<path class="front" d="{_staircase(best)}"/>')
    for row, anchor, (x, y) in zip(rows, anchors, points, strict=True):
        on_front = front in row.fronts
        words = escape(
            f"{row.method} {anchor}, {row.weights}: {percent(row.robust.mean)}%, {amount(_cost(row, front), unit)}"
        )
        # Only the front is reached by the Tab key: a board may have thousands of dots, and the table has them all.
        kind = f'class="{row.weights} best"' if on_front else f'class="{row.weights}" tabindex="-1"'
        whisker = f'<path d="M{x:.1f} {to_y(row.interval[0]):.1f}V{to_y(row.interval[1]):.1f}"/>' if on_front else ""
        dot = _dot(row, x, y, 5.5 if on_front else 4)
        parts.append(f'<a href="#{anchor}" {kind}><title>{words}</title>{whisker}{dot}</a>')
    return Markup("".join(parts) + "</svg>")


def _dot(row: Row, x: float, y: float, radius: float) -> str:
    """Return a disc for binary weights and a square for full precision: colour alone would not do."""
    if row.weights == "binary":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
    return f'<rect x="{x - radius:.1f}" y="{y - radius:.1f}" width="{2 * radius}" height="{2 * radius}"/>'


def _staircase(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *others = points
    return f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in others) + f"H{_BOX.right}"


def _plain(value: float, unit: str) -> str:
    """Write a tick without decimals: 20000 bytes are "20 kB"."""
    return amount(value, unit).replace(".0 ", " ")


def _cost(row: Row, front: Front) -> float:
    return row.costs.size_bytes if front == "size" else row.costs.passes or 0
