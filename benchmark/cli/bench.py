"""The command `bench`. Thin, like `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line
from benchmark.cli.main import DatasetOption, MethodsOption, PresetOption, SetOption, app, stoppable
from benchmark.cli.paths import PATH
from benchmark.errors import UserError


@app.command()
def bench(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="Measure the training steps and networks of this suite, as `plan` names it. Default: one network "
            "under every kind of training step, beside the plain implementation. A method that the YAML "
            "file gives as a file or module is imported, which runs its code.",
            show_default=False,
        ),
    ] = None,
    methods: MethodsOption = None,
    dataset: DatasetOption = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    out: Annotated[
        Path, typer.Option(help="The measurement is kept here as bench.json, where `plan` looks.", **PATH)
    ] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure this machine in about three minutes: convolutions, training steps, evaluation; for hours in `plan`."""
    from benchmark.bench.measure import bench
    from benchmark.session import Request

    request = None
    if suite is not None or dataset is not None:
        request = Request(suite, methods, dataset, preset, None, tuple(overrides or ()), None, out)
    elif methods or preset or overrides:
        raise UserError("--methods, --preset and --set choose among a suite's experiments; name the suite")
    with stoppable(f"what was measured is in {out}"):
        bench(request, out=out, device=device, say=echo_line)
