"""claims.md: what the boards answer to claims.yaml, and how a board's ranking agrees with the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from markupsafe import Markup

from benchmark.leaderboard.board.claims import KNOWN, MEASURES, UNCORRECTED, Answer, row_name
from benchmark.leaderboard.board.compare import wide_text
from benchmark.leaderboard.board.conclusion import p_text
from benchmark.leaderboard.formats import amount, measured_time, percent, points, row_page
from benchmark.leaderboard.pages.columns import title
from benchmark.leaderboard.pages.markdown_text import link, render, table
from benchmark.leaderboard.paper.ranking import FEWEST, PaperRanking
from benchmark.results.external import AnyRecord
from benchmark.results.invariants import doubts
from benchmark.results.record import Record

_HEADER = ("question", "answer", "measured", "A", "B", "A - B", "95% interval", "p", "corrected p", "seeds", "images")


def claims_page(answers: Sequence[Answer], rankings: Sequence[PaperRanking]) -> str:
    """Return the page for GitHub."""
    return render(
        "claims.md",
        answers=answers,
        table=claims_table(answers),
        pair=_pair,
        wide_text=wide_text,
        uncorrected=UNCORRECTED,
        rankings=rankings,
        ranked=_ranked,
        fewest=FEWEST,
    )


def claims_table(answers: Sequence[Answer]) -> Markup:
    """Return a table with a line for each question."""
    return table(_HEADER, [_line(answer) for answer in answers])


def _line(answer: Answer) -> list[str]:
    question = answer.claim.question + (f" ({KNOWN})" if answer.claim.known else "")
    if answer.test is None or answer.adjusted is None:
        return [question, answer.verdict, *[""] * (len(_HEADER) - 2)]
    return [
        question,
        Markup(f"**{answer.verdict}**{', overlap' if answer.overlap else ''}"),
        MEASURES[answer.claim.measure],
        *answer.accuracies,
        points(answer.test.difference),
        " to ".join(points(end) for end in answer.test.interval),
        p_text(answer.test.p_value),
        p_text(answer.adjusted),
        str(len(answer.a)),
        f"{len(answer.held[0][0]):,}",
    ]


def _pair(answer: Answer) -> Markup:
    """Return a table of the two rows."""
    titles = (title(key) for key in ("clean", "pgd", "size_bytes", "passes", "train_seconds"))
    return table(("", "row", "robust by seed", *titles), [_row("A", answer.a), _row("B", answer.b)])


def _row(side: str, row: Sequence[AnyRecord]) -> list[str]:
    first = row[0]
    trained = [record.training for record in row if isinstance(record, Record)]
    return [
        side,
        link(row_name(first), row_page(first.protocol, first.run_hash[:6])),
        ", ".join(_seed(record) for record in row),
        percent(mean(record.evaluation.clean_accuracy for record in row)),
        percent(mean(record.evaluation.pgd.accuracy for record in row)),
        amount(mean(record.artifact.size_bytes for record in row), "B"),
        amount(mean(each.passes for each in trained)) if trained else "-",
        measured_time(mean(each.seconds for each in trained)) if trained else "-",
    ]


def _seed(record: AnyRecord) -> str:
    return percent(record.evaluation.best_known_accuracy) + (" (off the board)" if doubts(record) else "")


def _ranked(ranking: PaperRanking) -> Markup:
    """Return a table of published results beside the rows that are matched with them."""
    titles = (title(key) for key in ("id", "method", "weights", "last_norm", "allocation"))
    lines = [
        [
            link(row.id, row_page(ranking.spec.protocol, row.id)),
            row.method,
            row.weights,
            "yes" if row.last_norm else "no",
            "-" if reported.allocation is None else reported.allocation,
            reported.objective,
            percent(reported.robust),
            percent(row.robust.mean),
        ]
        for reported, row in ranking.pairs
    ]
    return table((*titles, "published objective", "published AutoAttack", "robust here"), lines)
