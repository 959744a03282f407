"""The artifact of a submission: from the folder, from a file at hand, or from its address; counted again."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.artifact.measure import BadExport
from benchmark.artifact.unpack import Artifact, unpack
from benchmark.errors import UserError
from benchmark.experiment import Experiment
from benchmark.results.record import Record
from benchmark.review.recount import recount
from benchmark.submission.contradictions import differing
from benchmark.submission.files import ARTIFACT, LIMITS, read_plain
from benchmark.submission.reading import Parts
from benchmark.submission.schema import is_plain_url

CHUNK = 2**20  # bytes
DOWNLOAD_SECONDS = 300.0
WAIT_SECONDS = 20.0  # for an answer


def find_artifact(parts: Parts, at_hand: Path | None) -> tuple[Artifact | None, list[str]]:
    """Return the artifact that a submission names, or None and why it is refused.

    Args:
        parts: of the submission.
        at_hand: a copy of an artifact that the submission only gives an address of.
    """
    claim = parts.submission.artifact
    content = parts.artifact
    try:
        if claim.size_bytes > LIMITS[ARTIFACT]:
            return None, [f"it has {claim.size_bytes:,} bytes, at most {LIMITS[ARTIFACT]:,} are allowed"]
        if content is None and at_hand is not None:
            content = read_plain(at_hand, claim.size_bytes)
            if content is None:
                return None, [f"{at_hand} is no plain file of at most {claim.size_bytes:,} bytes"]
        elif content is None:
            assert claim.url is not None, "without an address the file is in the folder"
            content = download(claim.url, claim.size_bytes)
        if len(content) != claim.size_bytes:
            return None, [f"file size: the record says {claim.size_bytes:,}, the file has {len(content):,} bytes"]
        if hashlib.sha256(content).hexdigest() != claim.sha256:
            return None, ["the file is not the one that was measured: its sha256 differs"]
        return unpack(content), []
    except UserError as error:
        return None, [str(error)]


def check_artifact(record: Record, experiment: Experiment, artifact: Artifact) -> list[str]:
    """Return where an artifact does not bear out what its record says of it; empty if it does."""
    channels, *size = record.dataset.image_shape
    plan = artifact.plan
    pairs: dict[str, tuple[object, object]] = {
        "data set": (record.dataset.name, artifact.dataset),
        "classes": (record.dataset.num_classes, plan.num_classes),
        "channels": (channels, plan.in_channels),
        "image size": (tuple(size), artifact.image_size),
    }
    reasons = differing(pairs, "the artifact has")
    if reasons:
        return reasons
    if plan.width != experiment.architecture.width and record.architecture.prunable_weights > record.compression.budget:
        reasons.append(f"width: the experiment says {experiment.architecture.width:g}, the artifact has {plan.width:g}")
    try:
        return reasons + recount(record, artifact)
    except BadExport as error:
        return [*reasons, str(error)]


def download(url: str, size: int) -> bytes:
    """Fetch a file of at most `size` bytes by https, from a public host only.

    Raises:
        UserError: if it is not there, is larger, comes too slowly, or lies at another kind of address.
    """
    opener = urllib.request.build_opener(_HttpsOnly(), urllib.request.ProxyHandler())
    ends = time.monotonic() + DOWNLOAD_SECONDS
    _check_address(url)
    parts, got = [], 0
    try:
        with opener.open(url, timeout=WAIT_SECONDS) as answer:
            while chunk := answer.read(CHUNK):
                got += len(chunk)
                if got > size:
                    raise UserError(f"the file at the address has more than {size:,} bytes")
                if time.monotonic() > ends:
                    raise UserError(f"the download took more than {DOWNLOAD_SECONDS:.0f} seconds; give --artifact FILE")
                parts.append(chunk)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else type(error).__name__
        raise UserError(f"the file at the address cannot be fetched ({reason}); give --artifact FILE") from None
    return b"".join(parts)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to another kind of address."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Check the new address before it is asked."""
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    """Refuse addresses that are no public https ones: a stranger chose them."""
    try:
        host = urlsplit(is_plain_url(url)).hostname
        found = {entry[4][0] for entry in socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)}
    except ValueError as error:
        raise UserError(f"{url[:100]!a} is refused: {error}") from None
    except OSError:
        raise UserError(f"the host of {url[:100]!a} is not known; give --artifact FILE") from None
    if not all(ipaddress.ip_address(str(address)).is_global for address in found):
        raise UserError(f"{url[:100]!a} does not lie on a public host")
