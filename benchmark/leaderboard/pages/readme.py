"""Short tables of boards inside the README beside a leaderboard folder, between markers that its author places.

`readme_markers` says which. They hold the folder's name, so that a folder of another name leaves the README alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import UserError, suggestion
from benchmark.files.plain import read_below
from benchmark.leaderboard.board.claims import Answer
from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.formats import amount, markdown, percent, row_page, table
from benchmark.leaderboard.pages.claims import claims_table
from benchmark.leaderboard.pages.markdown_reproduction import setting_cells
from benchmark.leaderboard.pages.readme_markers import BEGIN, END

README = "../README.md"  # from the folder
README_BYTES = 2**24
SHOWN = 24  # rows at most
_COLUMNS = (
    *("size", "rank", "tie", "id", "method", "precision", "LBN", "network", "keep", "p", "loss"),
    *("clean", "AutoAttack", "robust", "95% interval", "file", "passes", "seeds"),
)


def readme_page(folder: Path, boards: Mapping[str, Board], answers: Sequence[Answer]) -> dict[str, str]:
    """Return the README beside `folder` with its tables made anew, by its name; nothing if it holds none of ours.

    Raises:
        UserError: if a marker names a board that is not there, or a table has no end, or the README is a link.
    """
    place = folder.absolute()
    path = place.parent / "README.md"
    content = read_below(path, place.parent, README_BYTES)
    if content is None:
        return {}
    lines = content.decode("utf-8", errors="replace").splitlines(keepends=True)
    found: list[str] = []
    ours = False
    rest = iter(lines)
    for line in rest:
        found.append(line)
        begin = BEGIN.fullmatch(line.strip())
        if begin is None or begin[2] != place.name:
            continue
        ours = True
        kind, _, protocol = begin.groups()
        if protocol not in boards:
            raise UserError(
                f"{path}: there is no board {protocol!r} in {folder}.{suggestion(protocol, boards)} "
                f"Known: {', '.join(boards) or 'none'}"
            )
        made = _table(boards[protocol], place.name) if kind == "table" else _claims(answers, protocol, place.name)
        found += f"\n{made}\n\n".splitlines(keepends=True)
        for inner in rest:
            if BEGIN.fullmatch(inner.strip()):
                raise _unended(path, protocol)
            if inner.strip() == END:
                found.append(inner)
                break
        else:
            raise _unended(path, protocol)
    return {README: "".join(found)} if ours else {}


def _unended(path: Path, protocol: str) -> UserError:
    return UserError(f"{path}: the table of {protocol} has no end; write {END} in a line of its own below it")


def _table(board: Board, folder: str) -> str:
    """Return the best rows of the board: of every ranking the first, then the second, and so on while there is room."""
    rankings = [(preset, ranking) for preset in PRESETS for _, ranking in board.rankings(preset)]
    by_place = sorted(
        (place, number, row.id) for number, (_, ranking) in enumerate(rankings) for place, row in enumerate(ranking)
    )
    chosen = {row_id for _, _, row_id in by_place[:SHOWN]}
    blocks = []
    for preset in PRESETS:
        lines = [
            _cells(row, board, folder)
            for of, ranking in rankings
            if of == preset
            for row in ranking
            if row.id in chosen
        ]
        if lines:
            blocks += [f"Preset *{preset}*, {board.n_images:,} test images:", table(_COLUMNS, lines)]
    link = f"[{markdown(board.protocol)}]({folder}/{board.protocol}.md)"
    shown = f"The best {SHOWN} of {len(board.rows)} rows." if len(board.rows) > SHOWN else "All rows."
    blocks.append(f"{shown} The whole board, with all columns: {link}.")
    return "\n\n".join(blocks)


def _claims(answers: Sequence[Answer], protocol: str, folder: str) -> str:
    """Return the questions to a board that have an answer, and where to read how they were tested."""
    found = [answer for answer in answers if answer.claim.protocol == protocol and answer.test is not None]
    shown = claims_table(found) if found else "No question to this board has an answer yet."
    return f"{shown}\n\nRows, tests and all questions: [claims.md]({folder}/claims.md)."


def _cells(row: Row, board: Board, folder: str) -> list[str]:
    deviation = "" if row.robust.std is None else f" ± {percent(row.robust.std)}"
    return [
        row.size_class.title,
        str(row.rank),
        str(row.tie),
        f"[{row.id}]({folder}/{row_page(board.protocol, row.id)})",
        *setting_cells(row),
        percent(row.clean.mean),
        percent(row.autoattack.mean),
        f"{percent(row.robust.mean)}{deviation}",
        f"{percent(row.interval[0])} to {percent(row.interval[1])}",
        amount(row.costs.size_bytes, "B"),
        amount(row.costs.passes),
        str(len(row.seeds)),
    ]
