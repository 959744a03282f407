"""Commands on results that exist: evaluate, merge, export, reproduce, recheck, challenge. Thin, like `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.echo import echo_line, echo_text
from benchmark.cli.main import DataDirOption, app, stoppable
from benchmark.cli.paths import PATH

LeaderboardOption = Annotated[
    Path, typer.Option("--out", help="Folder with records/ and artifacts/, where results are kept.", **PATH)
]
RowArgument = Annotated[
    str,
    typer.Argument(
        help="A row: the name of its run, the hash at its end, or a part of the name that fits one run only.",
        show_default=False,
    ),
]
ProtocolOption = Annotated[
    str | None, typer.Option(help="Protocol id, if the row is on several boards.", show_default=False)
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@app.command()
def evaluate(
    path: Annotated[
        Path, typer.Argument(help="An artifact, as in artifacts/ below --out.", show_default=False, **PATH)
    ],
    protocol: Annotated[
        str | None,
        typer.Option(help="Protocol id, as cifar10-linf-8_255-aa-standard-1000.", show_default=False),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set. Default: the artifact's.", show_default=False)] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Radius, as 8/255. Default: the data set's.", show_default=False)
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="So many of the fixed test images. Default: all.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    out: Annotated[Path, typer.Option(help="The result goes to evaluations/ below this folder.", **PATH)] = Path(
        "runs"
    ),
    device: DeviceOption = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per call of an attack.")] = 500,
    shard: Annotated[
        str | None,
        typer.Option(help="Measure slice i of n only, as 2/8; `merge` joins the results.", show_default=False),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Also PGD accuracy over a range of epsilon.")] = False,
    parent: Annotated[
        Path | None,
        typer.Option(
            help="Artifact of the dense parent, whose adversarial images are tried too.", show_default=False, **PATH
        ),
    ] = None,
    provisional: Annotated[
        bool,
        typer.Option("--provisional", help="Only clean, PGD and the two APGD attacks: an upper bound, printed only."),
    ] = False,
) -> None:
    """Measure an artifact: clean, PGD and AutoAttack accuracy and gradient health; killed, it goes on."""
    from benchmark.review.evaluating import EvaluateRequest, evaluate_artifact
    from benchmark.review.provisional import evaluate_provisionally
    from benchmark.review.text import evaluated_text

    request = EvaluateRequest(
        path, protocol, dataset, epsilon, images, data_dir, out, device, batch_size, shard, curve, parent
    )
    if provisional:
        with stoppable():
            echo_text(f"\n{evaluate_provisionally(request, echo_line)}\n")
        return
    with stoppable():
        found, place = evaluate_artifact(request, echo_line)
    echo_text(f"\n{evaluated_text(found)}\n")
    echo_line(f"written to {place}")


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="The results of all shards.", show_default=False, **PATH)],
) -> None:
    """Join the results of `evaluate --shard i/n` to the result of the whole, beside the first of them."""
    from benchmark.results.evaluated import load_evaluated, merge
    from benchmark.results.store import write_model
    from benchmark.review.text import evaluated_text

    found = merge([load_evaluated(path) for path in files])
    shards = found.evaluation.autoattack.shards
    place = files[0].with_name(f"{found.artifact.sha256[:12]}__{found.protocol}__merged-{shards}.json")
    write_model(place, found)
    echo_text(f"{evaluated_text(found)}\n")
    echo_line(f"written to {place}")


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="An artifact.", show_default=False, **PATH)],
    onnx: Annotated[Path, typer.Option(help="ONNX file to write.", show_default=False, **PATH)],
) -> None:
    """Write an artifact's network as a plain ONNX file on [0, 1] images, checked by ONNX Runtime."""
    from benchmark.artifact.onnx_file import check_target, export_onnx
    from benchmark.artifact.unpack import read_artifact

    artifact = read_artifact(path)
    check_target(onnx)
    export_onnx(artifact.network, onnx, channels=artifact.plan.in_channels, size=artifact.image_size)
    echo_line(f"wrote {onnx}, {onnx.stat().st_size:,} bytes (the artifact has {artifact.size_bytes:,})")


@app.command()
def reproduce(
    row: RowArgument,
    quick: Annotated[bool, typer.Option("--quick", help="The first 200 images of the protocol only.")] = False,
    protocol: ProtocolOption = None,
    data_dir: DataDirOption = None,
    out: LeaderboardOption = Path("leaderboards"),
    device: DeviceOption = "auto",
) -> None:
    """Measure a row's artifact again and answer whether the record is consistent with it."""
    from benchmark.leaderboard.board.find import find_record
    from benchmark.review.reproducing import reproduce, reproduction_text

    record = find_record(out, row, protocol)
    with stoppable():
        found = reproduce(record, out, quick=quick, data_dir=data_dir, device=device, say=echo_line)
    echo_text(f"\n{reproduction_text(found)}\n")
    if not found.consistent:
        raise typer.Exit(1)


@app.command()
def recheck(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            help="Rows by run, hash or a part of the name. Default: all records from before the opponent's attacks.",
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
            help="safetensors file for the adversarial images found on one row, as `challenge` takes them.",
            show_default=False,
            **PATH,
        ),
    ] = None,
) -> None:
    """Run the opponent's attacks on records from before them, and keep the outcome beside these records."""
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
            help="safetensors with x_adv (K, C, H, W) float32 and index (K,) int64, places in the row's test images.",
            show_default=False,
            **PATH,
        ),
    ],
    credit: Annotated[str, typer.Option(help="Who found them; shown on the board.", show_default=False)],
    protocol: ProtocolOption = None,
    data_dir: DataDirOption = None,
    out: LeaderboardOption = Path("leaderboards"),
) -> None:
    """Submit adversarial images that break a row: checked, they lower its best-known accuracy."""
    from benchmark.leaderboard.board.find import find_record
    from benchmark.review.challenging import challenge
    from benchmark.review.text import challenge_text

    found = challenge(find_record(out, row, protocol), images, out, credit=credit, data_dir=data_dir)
    echo_text(f"{challenge_text(found)}\n")
    if found.path is None:
        raise typer.Exit(1)
