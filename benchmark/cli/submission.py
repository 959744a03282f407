"""Commands for rows of a board: submit, verify, audit."""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.main import app, stoppable
from benchmark.cli.options import DataDirOption, LeaderboardOption, ProtocolOption
from benchmark.cli.paths import PATH
from benchmark.errors import UserError

ELSEWHERE = "Networks that were trained elsewhere"  # a group of options in the help
BoardOption = Annotated[Path, typer.Option(help="Folder with records/ and artifacts/ of the boards.", **PATH)]


def _text_option(text: str) -> Any:
    return typer.Option(help=text, show_default=False, rich_help_panel=ELSEWHERE)


def _file_option(text: str) -> Any:
    return typer.Option(help=text, show_default=False, rich_help_panel=ELSEWHERE, **PATH)


@app.command()
def submit(
    to: Annotated[Path, typer.Option(help="A new folder for the submission.", show_default=False, **PATH)],
    row: Annotated[
        str | None,
        typer.Argument(help="A run, four or more digits of its hash, or a part of its name.", show_default=False),
    ] = None,
    out: LeaderboardOption = Path("runs"),
    board: BoardOption = Path("leaderboards"),
    credit: Annotated[
        str | None,
        typer.Option(
            help="Who made the result; written to submission.json. Default: git's user.name.", show_default=False
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="https URL of the artifact, which is then not copied into the folder.", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Your own method, as path/to/file.py:Class; with --external its name, as its authors write it.",
            show_default=False,
        ),
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="The installed package with your own method.", show_default=False)
    ] = None,
    protocol: ProtocolOption = None,
    data_dir: DataDirOption = None,
    external: Annotated[
        Path | None, _file_option("ONNX file of a network that was trained elsewhere, in place of ROW.")
    ] = None,
    evaluation: Annotated[Path | None, _file_option("What `evaluate` wrote for this file.")] = None,
    architecture: Annotated[str | None, _text_option("Name of the network's architecture.")] = None,
    authors: Annotated[str | None, _text_option("Who trained it; several names separated by commas.")] = None,
    licence: Annotated[str | None, _text_option("Its licence, such as MIT or CC-BY-4.0.")] = None,
    link: Annotated[str | None, _text_option("https address where it was published.")] = None,
    converted: Annotated[str | None, _text_option("How the ONNX file was made, in a sentence.")] = None,
    converted_from: Annotated[
        Path | None, _file_option("The file that was converted; its SHA-256 is recorded.")
    ] = None,
    cite: Annotated[Path | None, _file_option("YAML file with title, authors, year, venue and link.")] = None,
    supersedes: Annotated[
        str | None, _text_option("Row by the same authors that this one is a newer version of.")
    ] = None,
) -> None:
    """Prepare a row for a pull request.

    Writes the record, the artifact and a description into a new folder, and prints the rank the row would get.
    """
    from benchmark.leaderboard.board.find import find_record
    from benchmark.results.record import Record
    from benchmark.results.store import artifact_path
    from benchmark.submission.external.options import external_request, without_external
    from benchmark.submission.external.writing import submit_external
    from benchmark.submission.placing import placement_text
    from benchmark.submission.writing import SubmitRequest, git_name, submit

    credit = git_name() if credit is None else credit
    about = {
        **{"evaluation": evaluation, "architecture": architecture, "authors": authors, "licence": licence},
        **{"link": link, "converted": converted, "converted_from": converted_from, "cite": cite},
        "supersedes": supersedes,
    }
    if external is not None:
        request = external_request(
            external,
            {**about, "method": method},
            row=row,
            package=package,
            to=to,
            board=board,
            credit=credit,
            url=url,
            data_dir=data_dir,
        )
        with stoppable("nothing was written; run the same command again"):
            placement = submit_external(request, echo_line)
        file = external
    else:
        record = find_record(out, without_external(row, about), protocol)
        if not isinstance(record, Record):
            raise UserError(f"{record.run} was trained elsewhere; submit its ONNX file by --external FILE")
        with stoppable("nothing was written; run the same command again"):
            placement = submit(record, SubmitRequest(out, to, board, url, data_dir, credit, method, package), echo_line)
        file = artifact_path(out, record.run)
    command = ["python", "-m", "benchmark", "verify", str(to)]
    command += [] if board == Path("leaderboards") else ["--board", str(board)]
    command += [] if data_dir is None else ["--data-dir", str(data_dir)]
    command += ["--artifact", str(file)] if url else []
    echo_text(f"\n{placement_text(placement)}\n\ncheck it as a pull request is checked: {shlex.join(command)}\n")
    if placement.reasons:
        raise typer.Exit(1)


SecondsOption = Annotated[
    float,
    typer.Option(
        min=1, max=86_400, help="Approximate seconds per row for repeating attacks; more time repeats more of them."
    ),
]
DrawOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Seed for choosing the images; pass the printed one to repeat a check. Default: random.",
        show_default=False,
    ),
]


@app.command()
def verify(
    folder: Annotated[
        Path, typer.Argument(help="A submission: the folder that `submit` wrote.", show_default=False, **PATH)
    ],
    board: BoardOption = Path("leaderboards"),
    data_dir: DataDirOption = None,
    artifact: Annotated[
        Path | None,
        typer.Option(help="The artifact, if the submission only has its URL.", show_default=False, **PATH),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="If every check passes, copy the record and the artifact to the board.")
    ] = False,
    seconds: SecondsOption = 180.0,
    draw: DrawOption = None,
) -> None:
    """Check a submission without running any of its code.

    Runs on the CPU. Exit code 1 if it is refused.
    """
    from benchmark.submission.accepting import accept_submission
    from benchmark.submission.placing import placement_text
    from benchmark.submission.verifying import VerifyRequest, verify

    draw = secrets.randbelow(2**31) if draw is None else draw
    outcome = verify(VerifyRequest(folder, board, data_dir, artifact, draw, seconds), echo_line)
    if not outcome.accepted:
        more = len(outcome.reasons) - 1
        echo_line(f"refused: {outcome.reasons[0]}" + (f" (and {more} more)" if more else ""))
        raise typer.Exit(1)
    assert outcome.placement is not None
    echo_text(f"\n{placement_text(outcome.placement)}\n\naccepted\n")
    if accept:
        for path in accept_submission(outcome, board):
            echo_line(f"copied to {path}")
        echo_line(
            f"next: delete {folder} if it is inside the board, then python -m benchmark leaderboard --out {board}"
        )


@app.command()
def audit(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROW]...", help="Only these rows, named as for `compare`. Default: all.", show_default=False
        ),
    ] = None,
    out: LeaderboardOption = Path("leaderboards"),
    since: Annotated[
        str | None,
        typer.Option(
            help="Check only what changed since this commit of the board's git repository.", show_default=False
        ),
    ] = None,
    data_dir: DataDirOption = None,
    seconds: SecondsOption = 180.0,
    draw: DrawOption = None,
) -> None:
    """Check all files of the boards and attack the networks again.

    Exit code 1 if anything is refused or cannot be checked.
    """
    from benchmark.audit.auditing import AuditRequest, audit, audit_text
    from benchmark.submission.remeasure import Effort

    draw = secrets.randbelow(2**31) if draw is None else draw
    request = AuditRequest(out, tuple(rows or ()), since, data_dir, Effort(seconds, draw))
    with stoppable():
        outcome = audit(request, echo_line)
    echo_text(f"\n{audit_text(outcome)}\n")
    if not outcome.passed:
        raise typer.Exit(1)
