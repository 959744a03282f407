"""Questions that a folder of results answers: pairs of rows named in claims.yaml, each with a paired test.

A claim is written down before its rows are measured, or says what hinted at its answer by then, and its answer is
computed, never typed. Where a board has several claims, Holm's correction decides which of them hold together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files.mistakes import first_mistake
from benchmark.files.plain import is_below
from benchmark.files.yaml_file import read_mapping
from benchmark.leaderboard.board.conclusion import seeds_overlap
from benchmark.leaderboard.board.find import cell_of, find_pair, is_known
from benchmark.leaderboard.board.tables import Board
from benchmark.leaderboard.formats import options_text, percent
from benchmark.results.evaluation import wide_parts
from benchmark.results.external import AnyRecord
from benchmark.results.invariants import doubts
from benchmark.results.parts import Part
from benchmark.results.record import Record
from benchmark.results.statistics import SIGNIFICANCE, PairedTest, mcnemar, pair_seeds

CLAIMS = "claims.yaml"  # in the folder of results
CLAIMS_BYTES = 2**20
MEASURES = {"robust": "robust", "wide_pgd": "PGD"}  # how the pages name them
KNOWN = "not blind"  # beside a question that was asked when there was already a hint of its answer
UNCORRECTED = "This p is of this test alone, without the correction for the other questions."
Text = Annotated[str, Field(min_length=1)]
Verdicts = tuple[np.ndarray, ...]


class Claim(Part):
    """A question whose answer is yes if row `a` is more robust than row `b`."""

    question: Text
    protocol: Text
    a: Text  # as `compare` takes them
    b: Text
    # correct under every attack on the protocol's images, or under PGD on more images (evaluation.pgd.images)
    measure: Literal["robust", "wide_pgd"] = "robust"
    known: Text | None = None  # what hinted at the answer already when the question was written down, if anything did


class RankingSpec(Part):
    """Which board is compared with which published ranking, see `benchmark.leaderboard.paper.ranking`."""

    protocol: Text
    published: Text  # data set of the published numbers
    objective: Text  # of the rows that are matched with the published ones, except edge-popup's


class Claims(Part):
    """The content of claims.yaml."""

    claims: tuple[Claim, ...] = ()
    rankings: tuple[RankingSpec, ...] = ()


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Answer:
    """A claim's rows, their paired test, and what it shows; without rows, why there are none."""

    claim: Claim
    a: tuple[AnyRecord, ...] = ()  # one per seed
    b: tuple[AnyRecord, ...] = ()
    held: tuple[Verdicts, Verdicts] = ((), ())  # of a and b: by seed, whether each image is correct by the measure
    test: PairedTest | None = None
    adjusted: float | None = None  # p-value by Holm's correction over all claims of the board
    missing: str = ""

    @property
    def accuracies(self) -> list[str]:
        """The measure of A and of B in percent, the means over their seeds; of several, these in brackets."""
        texts = []
        for row in self.held:
            by_seed = [float(bits.mean()) for bits in row]
            seeds = f" ({', '.join(map(percent, by_seed))})" if len(by_seed) > 1 else ""
            texts.append(percent(mean(by_seed)) + seeds)
        return texts

    @property
    def overlap(self) -> bool:
        """Whether one row leads by the pooled test, though the seeds of both overlap."""
        return self.verdict in ("yes", "no") and len(self.a) > 1 and seeds_overlap(*self.held)

    @property
    def bounded(self) -> bool:
        """Whether failed gradient health makes the accuracy of a seed of either row an upper bound."""
        return any(doubts(record) for record in (*self.a, *self.b))

    @property
    def verdict(self) -> Literal["yes", "no", "not shown", "not measured"]:
        """Whether A is more robust ("yes"), B is ("no"), or neither was shown at 5% after the correction.

        A row whose accuracy is an upper bound cannot be shown to be more robust.
        """
        if self.test is None or self.adjusted is None:
            return "not measured"
        a_leads = self.test.difference > 0
        if self.adjusted >= SIGNIFICANCE or any(doubts(record) for record in (self.a if a_leads else self.b)):
            return "not shown"
        return "yes" if a_leads else "no"


def row_name(record: AnyRecord) -> str:
    """Return the name of a row: its cell, and the options that the cell's name lacks."""
    options = options_text(record.method.options) if isinstance(record, Record) else ""
    return cell_of(record) + (f", {options}" if options else "")


def load_claims(folder: Path) -> Claims:
    """Read claims.yaml of a folder of results; without one there are no claims.

    Raises:
        UserError: if the file cannot be read or holds something else.
    """
    path = folder / CLAIMS
    if not is_below(path, folder, CLAIMS_BYTES):
        return Claims()
    try:
        return Claims.model_validate(read_mapping(path, "claims and rankings"))
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}.") from None


def answers(claims: Iterable[Claim], boards: Mapping[str, Board]) -> list[Answer]:
    """Answer every claim from the rows of the boards; the k-th seed of a is paired with the k-th of b.

    Rows that a board refuses for their gradient health alone count too: they can only lose. The claims of one board are
    corrected together: a board is measured to answer its own questions. Those without an answer yet count as if theirs
    were the weakest, so that no later row makes an answer weaker than it is now.
    """
    uncorrected = [_answer(claim, boards.get(claim.protocol)) for claim in claims]
    p_values: dict[str, list[float]] = {}
    for answer in uncorrected:
        p_values.setdefault(answer.claim.protocol, []).append(answer.test.p_value if answer.test else 1.0)
    adjusted = {protocol: iter(holm(each)) for protocol, each in p_values.items()}
    corrected = [next(adjusted[answer.claim.protocol]) for answer in uncorrected]
    return [
        replace(answer, adjusted=p_value) if answer.test else answer
        for answer, p_value in zip(uncorrected, corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m, from 0, is multiplied by m - i; none falls below the one before it, none exceeds 1.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _answer(claim: Claim, board: Board | None) -> Answer:
    if board is None:
        return Answer(claim, missing="there is no such board yet")
    records = [record for row in (*board.rows, *board.doubtful) for record in row.records]
    if absent := [name for name in (claim.a, claim.b) if not is_known(records, name)]:
        return Answer(claim, missing=f"the board has no row {' and no row '.join(map(repr, absent))} yet")
    try:
        a, b = find_pair(records, claim.a, claim.b)
    except UserError as error:
        return Answer(claim, missing=str(error))
    seeds = min(len(a), len(b))
    a, b = a[:seeds], b[:seeds]
    held = _held([*a, *b], claim)
    if not held:
        return Answer(claim, missing="its rows lack PGD on the same further images (evaluation.pgd.images)")
    test = mcnemar(*pair_seeds(held[:seeds], held[seeds:]))
    return Answer(claim, tuple(a), tuple(b), (held[:seeds], held[seeds:]), test)


def _held(records: Sequence[AnyRecord], claim: Claim) -> Verdicts:
    if claim.measure == "robust":
        return tuple(record.evaluation.right("robust") for record in records)
    return tuple(part.right("pgd") for part in wide_parts(record.evaluation for record in records))
