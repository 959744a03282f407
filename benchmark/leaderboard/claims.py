"""Questions that a folder of results answers: pairs of rows named in claims.yaml, each with a paired test.

A claim is written down before its rows are measured, and its answer is computed, never typed. Where several claims
are tested, Holm's correction tells which of them hold together.
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
from benchmark.leaderboard.compare import seeds_overlap
from benchmark.leaderboard.find import find_pair
from benchmark.leaderboard.tables import Board
from benchmark.overrides import read_mapping
from benchmark.results.evaluation import wide_parts
from benchmark.results.invariants import doubts
from benchmark.results.parts import Part
from benchmark.results.record import Record
from benchmark.results.statistics import SIGNIFICANCE, PairedTest, mcnemar, pair_seeds
from benchmark.results.store import first_mistake

CLAIMS = "claims.yaml"  # in the folder of results
MEASURES = {"robust": "robust", "wide_pgd": "PGD"}  # how the pages name them
Text = Annotated[str, Field(min_length=1)]
Verdicts = tuple[np.ndarray, ...]


class Claim(Part):
    """A question whose answer is yes if row `a` is more robust than row `b`."""

    question: Text
    protocol: Text
    a: Text  # as `compare` takes them
    b: Text
    # right under every attack on the protocol's images, or under PGD on more images than those (evaluation.pgd.images)
    measure: Literal["robust", "wide_pgd"] = "robust"


class RankingSpec(Part):
    """Which board is compared with which published ranking, see `benchmark.leaderboard.paper_ranking`."""

    protocol: Text
    published: Text  # data set of the published numbers
    objective: Text  # of the rows that stand for the published ones, except edge-popup's


class Claims(Part):
    """The content of claims.yaml."""

    claims: tuple[Claim, ...] = ()
    rankings: tuple[RankingSpec, ...] = ()


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Answer:
    """A claim's rows, their paired test, and what it shows; without rows, why there are none."""

    claim: Claim
    a: tuple[Record, ...] = ()  # one per seed
    b: tuple[Record, ...] = ()
    held: tuple[Verdicts, Verdicts] = ((), ())  # of a and b: by seed, whether each image is right as the claim measures
    test: PairedTest | None = None
    adjusted: float | None = None  # p-value by Holm's correction over all claims of the board that have an answer
    missing: str = ""

    @property
    def accuracies(self) -> tuple[float, float]:
        """What is measured of A and of B, the means over their seeds, in [0, 1]."""
        a, b = (mean(float(bits.mean()) for bits in row) for row in self.held)
        return a, b

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


def load_claims(folder: Path) -> Claims:
    """Read claims.yaml of a folder of results; without one there are no claims.

    Raises:
        UserError: if the file cannot be read or holds something else.
    """
    path = folder / CLAIMS
    try:
        return Claims.model_validate(read_mapping(path, "claims and rankings"))
    except FileNotFoundError:
        return Claims()
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}.") from None


def answers(claims: Iterable[Claim], boards: Mapping[str, Board]) -> list[Answer]:
    """Answer every claim from the rows of the boards; the k-th seed of a is paired with the k-th of b.

    Rows that a board refuses for their gradient health alone count too: they can only lose. The claims of one board are
    corrected together: a board is measured to answer its own questions.
    """
    found = [_answer(claim, boards.get(claim.protocol)) for claim in claims]
    tested: dict[str, list[float]] = {}
    for answer in found:
        if answer.test:
            tested.setdefault(answer.claim.protocol, []).append(answer.test.p_value)
    adjusted = {protocol: iter(holm(p_values)) for protocol, p_values in tested.items()}
    return [
        replace(answer, adjusted=next(adjusted[answer.claim.protocol])) if answer.test else answer for answer in found
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


def _held(records: Sequence[Record], claim: Claim) -> Verdicts:
    if claim.measure == "robust":
        return tuple(record.evaluation.right("robust") for record in records)
    return tuple(part.right("pgd") for part in wide_parts(record.evaluation for record in records))
