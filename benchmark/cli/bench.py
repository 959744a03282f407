"""The command `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line
from benchmark.cli.main import app, stoppable
from benchmark.cli.options import DatasetOption, DeviceOption, MethodsOption, PresetOption, SetOption
from benchmark.cli.paths import PATH
from benchmark.errors import UserError


@app.command()
def bench(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="A suite whose training steps and networks to measure: a name in configs/ or the path of a YAML file. "
            "Default: one network with every kind of training step, compared with a plain implementation. A method "
            "that the suite names by file or module is imported, which runs its code.",
            show_default=False,
        ),
    ] = None,
    methods: MethodsOption = None,
    dataset: DatasetOption = None,
    preset: PresetOption = None,
    overrides: SetOption = None,
    out: Annotated[
        Path, typer.Option(help="Output folder: the measurement is written to bench.json, which `plan` reads.", **PATH)
    ] = Path("runs"),
    device: DeviceOption = "auto",
) -> None:
    """Measure the speed of this machine for `plan`.

    Times convolutions, training steps and the evaluation in about three minutes, so that `plan` can show hours.
    """
    from benchmark.bench.measure import bench
    from benchmark.session import Request

    request = None
    if suite is not None or dataset is not None:
        request = Request(suite, methods, dataset, preset, None, tuple(overrides or ()), None, out)
    elif methods or preset or overrides:
        raise UserError("--methods, --preset and --set apply to the experiments of a suite; name the suite")
    with stoppable(f"the measurements so far are in {out}"):
        bench(request, out=out, device=device, say=echo_line)
