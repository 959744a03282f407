"""Commands for the Hugging Face Hub: push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line
from benchmark.cli.main import app, stoppable
from benchmark.cli.options import LeaderboardOption, OutOption, ProtocolOption, RowArgument


@app.command()
def push(
    row: RowArgument,
    repo: Annotated[str, typer.Option(help="Model repository on the Hub: user/name.", show_default=False)],
    out: LeaderboardOption = Path("leaderboards"),
    protocol: ProtocolOption = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the network as the Hub spells it, such as mit or cc-by-4.0.")
    ] = "mit",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Upload a row to the Hugging Face Hub.

    Uploads record, artifact and a generated card. The token is that of HF_TOKEN or of `hf auth login`.
    """
    from benchmark.hub.pushing import push
    from benchmark.results.store import check_folder

    check_folder(out)
    with stoppable("run the same command again"):
        pushed = push(row, repo, board=out, protocol=protocol, licence=licence, private=private)
    echo_line(f"pushed {', '.join(pushed.files)}: {pushed.url}")


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(help="Model repository on the Hub: user/name.", show_default=False)],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit. Default: the main branch.", show_default=False)
    ] = None,
    out: OutOption = Path("runs"),
) -> None:
    """Download a row from the Hugging Face Hub and check it.

    Writes record and artifact into a folder as `run` leaves them. No code of the repository is run.
    """
    from benchmark.hub.pulling import pull

    with stoppable("run the same command again"):
        pulled = pull(repo, revision=revision, out=out)
    for path in pulled.paths:
        echo_line(f"wrote {path}")
    echo_line(f"{pulled.record.run}, commit {pulled.commit or 'unknown'}; `reproduce` measures it again")
