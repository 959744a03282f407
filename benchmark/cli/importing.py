"""The command for checkpoints of public repositories: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line
from benchmark.cli.main import app, stoppable
from benchmark.cli.paths import PATH
from benchmark.errors import UserError


@app.command(name="import")
def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint: .pt, .pth or .tar, opened without running anything in it, or .safetensors.",
            show_default=False,
            **PATH,
        ),
    ],
    layout: Annotated[
        str,
        typer.Option(
            "--from",
            help="Who wrote it: robustbinarysubnet|hydra|harp|hidden-networks|torch-prune|torchvision.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The file to write: .safetensors for the suite's networks, .onnx for others.",
            show_default=False,
            **PATH,
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The settings that the run wrote: YAML, JSON, settings.txt or setup.log. Default: the one beside the "
            "checkpoint.",
            show_default=False,
            **PATH,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Architecture, or path/to/file.py:function or package.module:function that builds the plain network; "
            "the file or module is imported, which runs its code. Default: the checkpoint's own.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        float | None,
        typer.Option("--k", "--density", help="Share of kept weights. Default: the config's.", show_default=False),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Mean that was subtracted from pixels in [0, 1], per channel, such as 0.49,0.48,0.45; 0 for none. "
            "Default: the config's.",
            show_default=False,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Standard deviation they were divided by, as --mean; 1 for none.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Data set that it was trained for. Default: the config's.", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Pixels a side, for a data set that `list` does not show.", show_default=False
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of the original run, such as alpha=0.1. May be repeated."),
    ] = None,
) -> None:
    """Import a checkpoint of a public repository.

    Folds its masks into a plain network with the normalisation inside. Every tensor must have a place, and whatever
    decides the network must be in the checkpoint, its config or an option.
    """
    from benchmark.foreign.checkpoints.importing import ImportRequest, import_checkpoint, write_imported

    request = ImportRequest(
        checkpoint,
        layout,
        config,
        arch,
        k,
        tuple(settings or ()),
        _numbers("--mean", mean),
        _numbers("--std", std),
        dataset,
        image_size,
    )
    with stoppable("nothing was written; run the same command again"):
        imported = import_checkpoint(request)
        kind = write_imported(imported, request, out)
    for line in imported.lines():
        echo_line(line)
    echo_line(f"wrote {kind}: {out}, {out.stat().st_size:,} bytes")


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Return numbers separated by commas."""
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"{option} {text} is not numbers separated by commas, such as 0.49,0.48,0.45") from None
