"""claims.md: what the boards say to the questions of claims.yaml, and how their ranking agrees with the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from benchmark.leaderboard.board.claims import KNOWN, MEASURES, UNCORRECTED, Answer, row_name
from benchmark.leaderboard.board.compare import p_text, wide_text
from benchmark.leaderboard.formats import amount, duration, markdown, percent, points, row_page, table
from benchmark.leaderboard.pages.markdown import MARKDOWN_MARKER
from benchmark.leaderboard.paper.ranking import FEWEST, PaperRanking
from benchmark.results.invariants import doubts
from benchmark.results.record import Record

_LEGEND = (
    "The questions stand in `claims.yaml`; everything else on this page is computed from the records. *yes*: A is more "
    "robust than B, *no*: B is, *not shown*: neither at 5%. Measured is robust accuracy (right on the clean image and "
    "under every attack) or, where the line says so, accuracy under PGD on more images; of several seeds the mean, and "
    "these in brackets. The test is McNemar's exact one on the same images, seeds paired and pooled; *corrected* is "
    "its p-value after Holm's correction for all questions to the same board, answered or not, and the answer goes by "
    "it. *overlap*: the best seed of the lower row reaches the worst of the other, so the pooled test is too sure of "
    "itself. A seed marked *off the board* failed gradient health: its accuracy is an upper bound, so its row can lose "
    "but not win. The interval of the difference is Newcombe's, 95%, in percentage points. *not blind*: something "
    "spoke of the answer when the question was written down, see there; the others were asked before their rows were "
    "measured. `python -m benchmark compare A B` tells more of any pair."
)
_HEADER = ("question", "answer", "measured", "A", "B", "A - B", "95% interval", "p", "corrected", "seeds", "images")


def claims_page(answers: Sequence[Answer], rankings: Sequence[PaperRanking]) -> str:
    """Return the page for GitHub."""
    blocks = [MARKDOWN_MARKER, "# Questions and answers", _LEGEND]
    if answers:
        blocks.append(claims_table(answers))
    blocks += [_details(answer) for answer in answers]
    blocks += [_ranking(ranking) for ranking in rankings]
    return "\n\n".join(blocks) + "\n"


def claims_table(answers: Sequence[Answer]) -> str:
    """Return a table with a line for each question."""
    return table(_HEADER, [_line(answer) for answer in answers])


def _line(answer: Answer) -> list[str]:
    question = markdown(answer.claim.question) + (f" ({KNOWN})" if answer.claim.known else "")
    if answer.test is None or answer.adjusted is None:
        return [question, answer.verdict, *[""] * (len(_HEADER) - 2)]
    test, low_high = answer.test, answer.test.interval
    return [
        question,
        f"**{answer.verdict}**{', overlap' if answer.overlap else ''}",
        MEASURES[answer.claim.measure],
        *answer.accuracies,
        points(test.difference),
        " to ".join(points(end) for end in low_high),
        p_text(test.p_value),
        p_text(answer.adjusted),
        str(len(answer.a)),
        f"{len(answer.held[0][0]):,}",
    ]


def _details(answer: Answer) -> str:
    lines = [f"## {markdown(answer.claim.question)}", ""]
    if answer.test is None:
        return "\n".join([*lines, f"Not measured: {markdown(answer.missing)}"])
    lines += [f"On `{markdown(answer.a[0].protocol)}`, the means of the seeds:", ""]
    header = ("", "row", "robust by seed", "clean", "PGD", "file", "training passes", "training time")
    rows = [_row(side, row) for side, row in (("A", answer.a), ("B", answer.b))]
    test = answer.test
    told = (
        f"Pairs of image and seed: both {test.both:,}, only A {test.only_a:,}, only B {test.only_b:,}, "
        f"neither {test.neither:,}."
    )
    wide = wide_text(answer.a, answer.b)
    blocks = [table(header, rows), told, *([f"{wide} {UNCORRECTED}"] if wide else [])]
    if answer.claim.known:
        blocks.append(f"Known when this was asked: {markdown(answer.claim.known)}")
    return "\n".join([*lines, "\n\n".join(blocks)])


def _row(side: str, row: Sequence[Record]) -> list[str]:
    first = row[0]
    return [
        side,
        f"[{markdown(row_name(first))}]({row_page(first.protocol, first.run_hash[:6])})",
        ", ".join(_seed(record) for record in row),
        percent(mean(record.evaluation.clean_accuracy for record in row)),
        percent(mean(record.evaluation.pgd.accuracy for record in row)),
        amount(mean(record.artifact.size_bytes for record in row), "B"),
        amount(mean(record.training.passes for record in row)),
        duration(mean(record.training.seconds for record in row)),
    ]


def _seed(record: Record) -> str:
    return percent(record.evaluation.best_known_accuracy) + (" (off the board)" if doubts(record) else "")


def _ranking(ranking: PaperRanking) -> str:
    spec = ranking.spec
    lines = [f"## The paper's ranking and that of `{markdown(spec.protocol)}`", ""]
    told = (
        f"Rows that stand for the published ones on {markdown(spec.published)}: the same method, precision, LBN and p, "
        f"trained with the objective {markdown(spec.objective)} (edge-popup with the published one). Networks, kept "
        "shares, epochs and test images differ, so only the order is compared."
    )
    if ranking.tau is None or ranking.interval is None:
        return "\n".join([*lines, told, "", f"Fewer than {FEWEST} such rows, or no order among them: no correlation."])
    low, high = ranking.interval
    result = (
        f"Kendall's tau-b of {len(ranking.pairs)} rows: **{ranking.tau:.2f}**, 95% interval {low:.2f} to {high:.2f} "
        "(bootstrap over test images; published numbers are taken as they are)."
    )
    rows = [
        [
            f"[{markdown(row.id)}]({row_page(spec.protocol, row.id)})",
            markdown(row.method),
            row.weights,
            "yes" if row.last_norm else "no",
            "-" if reported.allocation is None else str(reported.allocation),
            reported.objective,
            percent(reported.robust),
            percent(row.robust.mean),
        ]
        for reported, row in ranking.pairs
    ]
    header = ("id", "method", "precision", "LBN", "p", "published objective", "published", "here")
    return "\n".join([*lines, told, "", result, "", table(header, rows)])
