"""AutoAttack and RayS with a fraction of their steps, for tests that are not about what the attacks can break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmark.evaluation import autoattack
from benchmark.evaluation.opponent import attacks
from benchmark.launch.order import WorkOrder
from benchmark.launch.run_order import run_order
from benchmark.session import Request, plan_suite

ITERATIONS, QUERIES, TURNS = 10, 200, 40  # of APGD and FAB, of Square, and of RayS in each order
standard_attack = autoattack.standard_attack


@contextmanager
def short_attacks(*, rays: bool = True) -> Iterator[None]:
    """Shorten AutoAttack inside of the block, and RayS by default.

    Everything else is as always: what is recorded in such a block comes out again, to the last bit, in another one.
    """

    def shortened(*args: Any, queries: int | None, **settings: Any) -> Any:
        adversary = standard_attack(*args, queries=min(queries or QUERIES, QUERIES), **settings)
        for attack in (adversary.apgd, adversary.apgd_targeted):
            attack.n_iter = attack.n_iter_orig = ITERATIONS
        adversary.fab.n_iter = ITERATIONS
        return adversary

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoattack, "standard_attack", shortened)
        if rays:
            for order, turns in attacks.ORDERS.items():
                patch.setitem(attacks.ORDERS, order, min(turns, TURNS))
        yield


def run_in_process(suite: Path, out: Path, *, rays: bool = True) -> None:
    """Run a suite like `run` with one thread, but in this process, where attacks can be shortened."""
    request = Request(str(suite), None, None, None, None, (), None, out)
    with short_attacks(rays=rays):
        for item in plan_suite(request):
            order = WorkOrder(
                experiment=item.experiment,
                out=out,
                data_dir=None,
                device="cpu",
                threads=1,
                command=f"python -m benchmark run {suite.name}",
            )
            run_order(order.save())
