"""Commands on existing results: evaluate, merge, export, reproduce, recheck, challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.main import app, stoppable
from benchmark.cli.options import (
    ArchOption,
    DataDirOption,
    DeviceOption,
    LatencyOption,
    LeaderboardOption,
    MeanOption,
    ProtocolOption,
    RowArgument,
    StdOption,
)
from benchmark.cli.paths import PATH


@app.command()
def evaluate(
    path: Annotated[
        Path,
        typer.Argument(
            help="A network: an artifact (a file in artifacts/ of an output folder), ONNX, TorchScript, a program of "
            "torch.export, or a state dict (see --arch).",
            show_default=False,
            **PATH,
        ),
    ],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Protocol id, such as cifar10-linf-8_255-aa-standard-1000; replaces --dataset, --epsilon, --images.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Data set. Default: that of the artifact; other files need it.", show_default=False),
    ] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Radius, such as 8/255. Default: that of the data set.", show_default=False)
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Number of test images. Default: all.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    out: Annotated[Path, typer.Option(help="Output folder: the result is written to its evaluations/.", **PATH)] = Path(
        "runs"
    ),
    device: DeviceOption = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch of an attack.")] = 500,
    shard: Annotated[
        str | None,
        typer.Option(help="Measure only part i of n, such as 2/8; `merge` joins the results.", show_default=False),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Also measure PGD accuracy over a range of epsilon.")] = False,
    parent: Annotated[
        Path | None,
        typer.Option(
            help="File of the dense parent; its adversarial images are tried too.", show_default=False, **PATH
        ),
    ] = None,
    provisional: Annotated[
        bool,
        typer.Option("--provisional", help="Print an upper bound from clean, PGD and two APGD attacks; write nothing."),
    ] = False,
    latency: LatencyOption = False,
    arch: ArchOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    nhwc: Annotated[bool, typer.Option("--nhwc", help="The network takes images with the channels last.")] = False,
) -> None:
    """Measure the accuracy and robustness of a network from a file.

    Clean, PGD and AutoAttack accuracy, and gradient checks. If stopped, run the same command again to resume.
    """
    from benchmark.foreign.preprocessing import typed_reading
    from benchmark.review.evaluating import evaluate_file
    from benchmark.review.latencies import latency_text
    from benchmark.review.provisional import evaluate_provisionally
    from benchmark.review.tasks import EvaluateRequest
    from benchmark.review.text import evaluated_text

    request = EvaluateRequest(
        path,
        protocol,
        dataset,
        epsilon,
        images,
        data_dir,
        out,
        device,
        batch_size,
        shard,
        curve,
        parent,
        typed_reading(arch, mean, std, nhwc=nhwc),
    )
    if provisional:
        with stoppable():
            echo_text(f"\n{evaluate_provisionally(request, echo_line)}\n")
        return
    with stoppable():
        evaluated, file = evaluate_file(request, echo_line)
        times = latency_text(request) if latency else ""
    echo_text(f"\n{evaluated_text(evaluated)}\n{times}")
    echo_line(f"written to {file}")


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="The result files of all parts.", show_default=False, **PATH)],
) -> None:
    """Merge the results of `evaluate --shard`.

    Writes the result for all images next to the first file.
    """
    from benchmark.results.evaluated import load_evaluated, merge
    from benchmark.results.foreign import network_name
    from benchmark.results.store import write_model
    from benchmark.review.text import evaluated_text

    evaluated = merge([load_evaluated(path) for path in files])
    shards = evaluated.evaluation.autoattack.shards
    name = network_name(evaluated.artifact.sha256, evaluated.foreign)
    file = files[0].with_name(f"{name}__{evaluated.protocol}__merged-{shards}.json")
    write_model(file, evaluated)
    echo_text(f"{evaluated_text(evaluated)}\n")
    echo_line(f"written to {file}")


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(help="An artifact: a file in artifacts/ of an output folder.", show_default=False, **PATH)
    ],
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.", show_default=False, **PATH)],
) -> None:
    """Export an artifact as an ONNX file.

    The network takes images in [0, 1]. ONNX Runtime checks the file before it is written.
    """
    from benchmark.artifact.onnx_file import check_target, export_onnx
    from benchmark.artifact.unpack import read_artifact

    artifact = read_artifact(path)
    check_target(onnx)
    export_onnx(artifact.network, onnx, channels=artifact.plan.in_channels, size=artifact.image_size)
    echo_line(f"wrote {onnx}, {onnx.stat().st_size:,} bytes (the artifact has {artifact.size_bytes:,})")


@app.command()
def reproduce(
    row: RowArgument,
    quick: Annotated[bool, typer.Option("--quick", help="Measure only the first 200 images of the protocol.")] = False,
    protocol: ProtocolOption = None,
    data_dir: DataDirOption = None,
    out: LeaderboardOption = Path("leaderboards"),
    device: DeviceOption = "auto",
) -> None:
    """Measure a row again and compare it with its record.

    Evaluates the row's artifact and reports whether the record is consistent with the result.
    """
    from benchmark.api.rows import reproduce
    from benchmark.results.store import check_folder

    check_folder(out)
    with stoppable():
        reproduction = reproduce(
            row, board=out, protocol=protocol, quick=quick, data_dir=data_dir, device=device, report=echo_line
        )
    echo_text(f"\n{reproduction.text}\n")
    if not reproduction.consistent:
        raise typer.Exit(1)


@app.command()
def recheck(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            help="Rows of the boards: runs, at least four digits of their hashes, or parts of their names. Default: "
            "all records without these attacks.",
            show_default=False,
        ),
    ] = None,
    protocol: ProtocolOption = None,
    out: LeaderboardOption = Path("leaderboards"),
    data_dir: DataDirOption = None,
    device: DeviceOption = "cpu",
    keep: Annotated[
        Path | None,
        typer.Option(
            help="File for the adversarial images found on a single row, in the format of `challenge`.",
            show_default=False,
            **PATH,
        ),
    ] = None,
) -> None:
    """Run the opponent's attacks on older records.

    Records made before these attacks existed lack their results; the results are written beside the records.
    """
    from benchmark.review.rechecking import RecheckRequest, recheck
    from benchmark.review.text import recheck_text

    with stoppable():
        outcome = recheck(RecheckRequest(rows or [], protocol, out, data_dir, device, keep), echo_line)
    echo_text(f"{recheck_text(outcome)}\n")
    outcome.stop_if_failed()


@app.command()
def challenge(
    row: RowArgument,
    images: Annotated[
        Path,
        typer.Argument(
            help="safetensors file with x_adv, float32 (K, C, H, W), and index, int64 (K,): positions in the row's "
            "test images.",
            show_default=False,
            **PATH,
        ),
    ],
    credit: Annotated[str, typer.Option(help="Who found the images; shown on the board.", show_default=False)],
    protocol: ProtocolOption = None,
    data_dir: DataDirOption = None,
    out: LeaderboardOption = Path("leaderboards"),
) -> None:
    """Submit adversarial images that break a row.

    If they pass the check, they lower the row's best-known accuracy.
    """
    from benchmark.leaderboard.board.find import find_record
    from benchmark.review.challenging import challenge
    from benchmark.review.text import challenge_text

    outcome = challenge(find_record(out, row, protocol), images, out, credit=credit, data_dir=data_dir)
    echo_text(f"{challenge_text(outcome)}\n")
    if outcome.path is None:
        raise typer.Exit(1)
