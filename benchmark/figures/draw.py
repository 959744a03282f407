"""Draws all figures of a folder of results and keeps their files and figures.json up to date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError
from benchmark.figures.mask_numbers import Mask
from benchmark.files.plain import read_below
from benchmark.leaderboard.board.loading import load_results
from benchmark.leaderboard.figure_plans.data import (
    FrontData,
    MaskData,
    OptionData,
    Plan,
    RateData,
    SecurityData,
    TrainingData,
)
from benchmark.leaderboard.figure_plans.list import (
    FIGURES,
    LIST,
    PICTURE_BYTES,
    FigureEntry,
    FigureList,
    drawable,
    has_same_text,
    intact,
    leftovers,
    load_entries,
    plan_all,
)
from benchmark.leaderboard.figure_plans.size_data import SizeData
from benchmark.results.store import artifact_path, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_figures(folder: Path, say: Callable[[str], None]) -> tuple[FigureEntry, ...]:
    """Draw every figure that a folder of results allows into site/figures/ below it, and list them in figures.json.

    The same results give the same bytes with the same matplotlib. Files are written only where their content changes,
    pictures that belong to no figure are removed. A mask whose artifact is not here stays as it was drawn elsewhere.

    Args:
        folder: of results.
        say: receives a line per figure, and one for each that is left out, with the reason.

    Returns:
        The figures there are now.

    Raises:
        UserError: if matplotlib is not installed, or a file cannot be read.
    """
    _require_matplotlib()
    from benchmark.figures.style import house_style

    try:
        before = {entry.name: entry for entry in load_entries(folder) or ()}
    except UserError as error:
        say(f"all figures are drawn again: {error}")
        before = {}
    plans, skipped = plan_all(folder, load_results(folder).boards)
    target = folder / FIGURES
    entries = []
    for number, plan in enumerate(plans, start=1):
        old, progress = before.get(plan.name), f"[{number}/{len(plans)}]"
        if drawable(folder, plan):
            with house_style():
                entry, changed = _draw(folder, plan)
            say(f"{progress} {'wrote' if changed else 'unchanged'} {FIGURES / plan.name}.png and .svg")
        elif old is not None and has_same_text(old, plan) and intact(folder, old):
            entry = old
            say(f"{progress} kept {FIGURES / plan.name}.png and .svg, its artifact is not here")
        else:
            skipped.append(
                f"{plan.name}: {artifact_path(folder, plan.run or '')} is not here; fetch it to draw the mask"
            )
            continue
        entries.append(entry)
    for path in leftovers(folder, entries):
        if _is_drawn(path, folder, before.values()):
            path.unlink()
            say(f"removed {FIGURES / path.name}, it belongs to no figure")
        else:
            say(f"kept {FIGURES / path.name}, which was not drawn here; move it to another folder")
    content = FigureList(schema_version=1, figures=tuple(entries)).model_dump(mode="json")
    _write(target / LIST, folder, (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
    for reason in skipped:
        say(f"skipped: {reason}")
    say(f"{folder}: {len(entries)} figures, {len(skipped)} skipped; listed in {FIGURES / LIST}")
    return tuple(entries)


def _require_matplotlib() -> None:
    try:
        import matplotlib as matplotlib
    except ImportError:
        raise UserError(
            "figures need matplotlib, which is not installed; install it with `pip install -e '.[figures]'`."
        ) from None


def _draw(folder: Path, plan: Plan) -> tuple[FigureEntry, bool]:
    """Draw one figure, write its files, and return its entry and whether a file changed."""
    from benchmark.figures.style import to_png, to_svg

    figure, plan = _picture(folder, plan)
    content = {f"{plan.name}.png": to_png(figure), f"{plan.name}.svg": to_svg(figure)}
    changed = [_write(folder / FIGURES / name, folder, each) for name, each in content.items()]
    png, svg = content
    entry = FigureEntry(
        name=plan.name,
        title=plan.title,
        caption=plan.caption,
        protocol=plan.protocol,
        run=plan.run,
        numbers=plan.numbers,
        png=png,
        svg=svg,
        png_sha256=hashlib.sha256(content[png]).hexdigest(),
        svg_sha256=hashlib.sha256(content[svg]).hexdigest(),
        source=plan.source,
    )
    return entry, any(changed)


def _picture(folder: Path, plan: Plan) -> tuple[Figure, Plan]:
    from benchmark.figures import ablations, fronts, lines, masks

    data = plan.data
    if isinstance(data, FrontData):
        return fronts.draw_front(plan, data), plan
    if isinstance(data, SecurityData):
        return lines.draw_security(plan, data), plan
    if isinstance(data, RateData):
        return ablations.draw_rates(plan, data), plan
    if isinstance(data, SizeData):
        return ablations.draw_sizes(plan, data), plan
    if isinstance(data, OptionData):
        return ablations.draw_options(plan, data), plan
    if isinstance(data, TrainingData):
        return lines.draw_training(plan, data), plan
    layers = _masks(folder, plan, data)
    return masks.draw_masks(plan, data, layers), replace(plan, numbers=masks.mask_facts(layers))


def _masks(folder: Path, plan: Plan, data: MaskData) -> dict[str, Mask]:
    """Return the masks of a plan's layers, read from the artifact of its run."""
    from benchmark.artifact.unpack import read_artifact  # here, because it imports torch

    network = read_artifact(artifact_path(folder, plan.run or "")).network
    weights = {name: network.get_parameter(f"{name}.weight").numpy() for name in data.layers}
    return {name: weight != 0 for name, weight in weights.items()}


def _is_drawn(path: Path, folder: Path, entries: Iterable[FigureEntry]) -> bool:
    """Return whether a picture is one of those that a list of figures names, byte for byte."""
    if path.is_symlink() or not path.is_file():
        return False
    hashes = {sha256 for entry in entries for name, sha256 in entry.files if name == path.name}
    content = read_below(path, folder, PICTURE_BYTES)
    return content is not None and hashlib.sha256(content).hexdigest() in hashes


def _write(path: Path, folder: Path, content: bytes) -> bool:
    """Write a file below a folder of results if its content differs; return whether it did."""
    if read_below(path, folder, PICTURE_BYTES) == content:
        return False
    write_atomic(path, content)
    return True
