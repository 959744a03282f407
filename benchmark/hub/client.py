"""The Hub as this program uses it: which files a row has there, one sentence for each failure, bounded downloads.

A token comes from HF_TOKEN or from `hf auth login`, never from the command line, and is in no message or file. The
address is HF_ENDPOINT if that is set.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from benchmark.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RECORD, ARTIFACT, CARD = "record.json", "artifact.safetensors", "README.md"
SECONDS = 600.0  # for one file
WAIT_SECONDS = 30.0  # for the next bytes
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


def hub_package() -> ModuleType:
    """Return huggingface_hub.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            "push and pull need the package huggingface_hub, which is not installed; run: pip install -e '.[hub]'"
        ) from None
    return huggingface_hub


def make_api() -> HfApi:
    """Return a client for the endpoint in HF_ENDPOINT, or for the Hub; raises UserError without the package."""
    api: HfApi = hub_package().HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    return api


def checked_repo(repo: object) -> str:
    """Return the name of a repository; raises UserError unless it is user/name."""
    if not isinstance(repo, str) or not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UserError(f"the repository must be user/name, with letters, digits and . _ - only; got {repo!r}")
    return repo


def checked_revision(revision: object) -> str:
    """Return a branch, tag or commit, "main" for None; raises UserError for anything else."""
    if revision is None:
        return "main"
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision) or ".." in revision:
        raise UserError(f"the revision must be a branch, a tag or a commit; got {revision!r}")
    return revision


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Turn what the Hub or the network answers into one sentence, without the answer's own text."""
    try:
        yield
    except UserError:
        raise
    except Exception as raised:
        cause = raised.__cause__  # an upload's own error is behind a RuntimeError
        error = cause if isinstance(raised, RuntimeError) and isinstance(cause, Exception) else raised
        http = type(error).__module__.startswith("httpx")
        if not http and not isinstance(error, OSError | ValueError):
            raise raised
        raise UserError(_sentence(error, repo, http=http)) from None


def _sentence(error: Exception, repo: str, *, http: bool) -> str:
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such revision; give a branch, a tag or a commit of it"
    if isinstance(error, EntryNotFoundError):
        return f"{repo} lacks a file of a row, {RECORD} or {ARTIFACT}; pull a repository that `push` wrote"
    if isinstance(error, RepositoryNotFoundError):
        return f"the Hub has no repository {repo}, or your token may not see it; check the name and HF_TOKEN"
    if status == 401:
        return "the Hub does not accept the token; set HF_TOKEN to a valid one, or run `hf auth login`"
    if status == 403:
        return f"the token may not write to {repo}; use one with write access to it"
    if status is not None:
        return f"the Hub answered with HTTP status {status}; try again later"
    if http or isinstance(error, OSError):
        return f"the Hub cannot be reached ({type(error).__name__}); check the network and HF_ENDPOINT"
    return f"the Hub or its client refused the request about {repo} ({type(error).__name__})"


def download(api: HfApi, repo: str, revision: str, name: str, limit: int) -> tuple[bytes, str | None]:
    """Return the content of a file and the commit it is of, if the Hub states one.

    No more than `limit` bytes are read, and nothing is decompressed or kept on disk.

    Raises:
        UserError: if it is larger, encoded or too slow.
    """
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    url = hf_hub_url(repo, name, revision=revision, endpoint=api.endpoint)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    ends = time.monotonic() + SECONDS
    content, commit = bytearray(), None
    with get_session().stream("GET", url, headers=headers, timeout=WAIT_SECONDS, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        for each in (*answer.history, answer):  # the Hub states the commit where it redirects to its store
            commit = each.headers.get("X-Repo-Commit", commit)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise UserError(f"{name} of {repo} is sent encoded, which was not requested; try again later")
        announced = answer.headers.get("Content-Length", "0")
        too_large = announced.isdecimal() and int(announced) > limit
        for chunk in () if too_large else answer.iter_raw():
            content += chunk
            too_large = len(content) > limit
            if too_large:
                break
            if time.monotonic() > ends:
                raise UserError(f"{name} of {repo} took more than {SECONDS:g} seconds; try again later")
    if too_large:
        raise UserError(f"{name} of {repo} has more than {limit:,} bytes, more than it may have; nothing was kept")
    return bytes(content), commit
