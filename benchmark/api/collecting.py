"""`benchmark.collect`: the results of several sites in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from benchmark.api.places import checked_path
from benchmark.errors import UserError
from benchmark.review.collecting import Collected
from benchmark.review.collecting import collect as collect_folders


def collect(
    sites: Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str],
    report: Callable[[str], Any] = print,
) -> Collected:
    """Copy records and artifacts of several output folders into one, and write its boards.

    Every record is validated, and every artifact must have the size and the SHA-256 of its record; links are refused.
    What `out` has already is never replaced. Challenges, later checks and work in progress are not copied.

    Args:
        sites: output folders of `run`; of two different records of one run the first one counts.
        out: folder to copy into, made if need be; what lies there comes before all sites.
        report: receives one line for each new or refused record, then the totals.

    Raises:
        UserError: if a site does not exist, a file in one of the folders is refused, or writing fails.
    """
    if isinstance(sites, str | PathLike) or not sites:
        raise UserError(f"sites must be a list of at least one folder; got {sites!r}")
    folder = checked_path(out, "out")
    collected = collect_folders([checked_path(site, "sites") for site in sites], folder)
    for record in collected.new:
        report(f"new       {record.run} under {record.protocol}")
    for run in collected.without_artifact:
        report(f"note      {run}: its site has no artifact of it")
    for sentence in collected.refused:
        report(f"refused   {sentence}")
    report(f"{folder}: {len(collected.new)} new, {collected.known} already there, {len(collected.refused)} refused")
    return collected
