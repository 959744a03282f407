"""Options and arguments that several commands share, so that each has one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.paths import PATH

SuiteArgument = Annotated[
    str | None,
    typer.Argument(
        help="A suite: a name in configs/ or the path of a YAML file. Default: the suite of --dataset, or quickstart. "
        "A method that the suite names by file or module is imported, which runs its code.",
        show_default=False,
    ),
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="Methods, separated by commas: 'all' (built-in methods and plug-ins), names, path/to/file.py:Class or "
        "package.module:Class. Default: those of the suite. A file or module is imported, which runs its code.",
        show_default=False,
    ),
]
DatasetOption = Annotated[str | None, typer.Option(help="Data set. Default: that of the suite.", show_default=False)]
PresetOption = Annotated[
    str | None, typer.Option(help="Scale the suite: paper, short or smoke; see `list`.", show_default=False)
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        "--seed",
        help="Training seeds, such as 0,1,2 or 0..359. Default: those of the suite.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting of the suite, such as training.epochs=5. May be repeated."),
]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Folder with the files of the data set. Default: data", show_default=False, **PATH)
]
DeviceOption = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
LauncherOption = Annotated[
    str,
    typer.Option(
        help="What runs the experiments: local (this machine), slurm, ray, or commands, which prints one command for "
        "each job and runs nothing."
    ),
]
LauncherConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file with the launcher's settings.", show_default=False, **PATH)
]
ShardsOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Attack the test images in this many slices, each a job of its own. AutoAttack's draws depend on it.",
    ),
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option(
        help="Time for this call, such as 8m, 90s, 2h or 1:30:00: start nothing that cannot end in it, and leave what "
        "runs then where the same command continues.",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="Output folder for records, artifacts, board pages, and work in progress.", **PATH)
]
ArchOption = Annotated[
    str | None,
    typer.Option(
        help="Architecture of a state dict: a name, package.module:factory or path/to/file.py:factory.",
        show_default=False,
    ),
]
LatencyOption = Annotated[
    bool, typer.Option("--latency", help="Also time the network: torch, ONNX Runtime, and sparse (extra fast).")
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        help="Subtracted from pixels in [0, 1] before the network, such as 0.49,0.48,0.45.", show_default=False
    ),
]
StdOption = Annotated[
    str | None, typer.Option(help="What these are then divided by, such as 0.25,0.24,0.26.", show_default=False)
]
LeaderboardOption = Annotated[Path, typer.Option("--out", help="Folder with records/ and artifacts/.", **PATH)]
RowArgument = Annotated[
    str,
    typer.Argument(
        help="A row of a board: a run, at least four digits of its hash, or a part of its name that fits one row only.",
        show_default=False,
    ),
]
ProtocolOption = Annotated[
    str | None, typer.Option(help="Protocol id, if the row is on several boards.", show_default=False)
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track",
        help="Also send each epoch to tensorboard, wandb or trackio, if that package is installed.",
        show_default=False,
    ),
]
