"""What `evaluate`, `merge`, `recheck` and `challenge` print."""

from __future__ import annotations

from benchmark.files.text import terminal_line
from benchmark.results.evaluated import Evaluated
from benchmark.results.evaluation import CASCADE, OPPONENT
from benchmark.results.statistics import wilson
from benchmark.review.challenging import ChallengeOutcome
from benchmark.review.rechecking import RecheckOutcome

MARKS = {"pass": "pass", "suspect": "SUSPECT", "fail": "FAIL", "not run": "not run"}


def evaluated_text(evaluated: Evaluated) -> str:
    """Return the table of accuracies, the checks of gradient health and the security curve of an evaluation."""
    evaluation, n = evaluated.evaluation, evaluated.evaluation.n_images
    which = f", shard {evaluated.shard.index} of {evaluated.shard.count}" if evaluated.shard else ""
    what = "artifact" if evaluated.foreign is None else "network"
    lines = [
        f"{what:<11}{evaluated.artifact.size_bytes:,} bytes, sha256 {evaluated.artifact.sha256}",
        *([] if evaluated.foreign is None else [f"read as    {evaluated.foreign}"]),
        f"protocol   {evaluated.protocol}{which}",
        "",
        f"{'attack':<14}{'correct':>10}{'accuracy':>10}   95% interval (Wilson)",
    ]
    pgd = f"pgd-{evaluation.pgd.steps}"
    names = {"clean": "clean", "pgd": pgd, **{name: f"  {name}" for name in CASCADE}, "autoattack": "AutoAttack"}
    for name, shown in {**names, "robust": "robust"}.items():
        right = int(evaluation.right(name).sum())
        low, high = wilson(right, n)
        lines.append(f"{shown:<14}{f'{right}/{n}':>10}{100 * right / n:>10.2f}   {100 * low:.2f} to {100 * high:.2f}")
    opponent = ""
    if evaluation.opposed:
        opponent = f" and the opponent's attacks, which broke {int((~evaluation.right(OPPONENT)).sum())} more images"
    lines += [
        "AutoAttack's attacks run in this order, each on the images still classified correctly; "
        f"robust: correct under these{',' if opponent else ' and'} PGD{opponent}.",
        "",
        f"gradient health: {MARKS[evaluation.health_verdict]}",
    ]
    lines += [f"  {check.name:<18}{MARKS[check.verdict]:<9}{check.reason}" for check in evaluation.health]
    lines += [f"note: {note}" for note in evaluation.notes]
    if evaluated.curve is not None and evaluated.curve_area is not None:
        lines += ["", f"{'epsilon':>12}{'PGD accuracy':>14}"]
        lines += [f"{255 * point.epsilon:>8.2f}/255{100 * point.accuracy:>14.2f}" for point in evaluated.curve]
        lines.append(f"area under the curve, as a share of its range: {evaluated.curve_area:.4f}")
    return "\n".join(map(terminal_line, lines))


def recheck_text(outcome: RecheckOutcome) -> str:
    """Return the outcome of `recheck`, in one line."""
    counts = {"checked": len(outcome.written), "checked before": outcome.present, "not checked": len(outcome.failures)}
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "checked")
    return f"rows: {shown}" + ("; run `python -m benchmark leaderboard` to update the pages" if outcome.written else "")


def challenge_text(outcome: ChallengeOutcome) -> str:
    """Return the outcome of a challenge, in two or three lines."""
    lines = [
        f"{outcome.submitted} images in the ball and in [0, 1]; {outcome.broken} are misclassified by the artifact, "
        f"{outcome.new} of these are new"
    ]
    if outcome.path is None:
        lines.append(f"best-known accuracy stays {100 * outcome.before:.2f}: nothing was stored")
    else:
        if outcome.after < outcome.before:
            lines.append(f"best-known accuracy falls from {100 * outcome.before:.2f} to {100 * outcome.after:.2f}")
        else:
            lines.append(
                f"best-known accuracy stays {100 * outcome.before:.2f}: the opponent's attacks had already broken "
                "these images, which are now kept"
            )
        lines.append(f"stored {outcome.path}; run `python -m benchmark leaderboard` to update the pages")
    return "\n".join(map(terminal_line, lines))
