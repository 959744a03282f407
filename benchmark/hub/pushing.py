"""`push`: uploads a row to the Hugging Face Hub, with its record and a generated card."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike

from benchmark.api.places import board_folder, row_record
from benchmark.errors import UserError
from benchmark.files.plain import read_below
from benchmark.hub.card import checked_licence, model_card
from benchmark.hub.client import ARTIFACT, CARD, RECORD, checked_repo, hub_errors, hub_package, make_api
from benchmark.results.external import ExternalRecord
from benchmark.results.store import ARTIFACT_BYTES, artifact_path, model_text
from benchmark.review.sources import artifact_of
from benchmark.submission.texts import record_texts


@dataclass(frozen=True)
class Pushed:
    """What was uploaded.

    Attributes:
        repo: user/name.
        url: address of the commit.
        commit: its hash; `pull` takes it as the revision.
        files: names of the files.
    """

    repo: str
    url: str
    commit: str
    files: tuple[str, ...]


def push(
    row: str,
    repo: str,
    *,
    board: str | PathLike[str] | None = None,
    protocol: str | None = None,
    licence: str = "mit",
    private: bool = False,
) -> Pushed:
    """Upload the artifact of a row with its record and a card to a model repository of the Hugging Face Hub.

    The repository is made if there is none; one commit replaces the three files in it. The token is that of HF_TOKEN or
    of `hf auth login`.

    Args:
        row: as for `benchmark.load_model`, but no path.
        repo: user/name.
        board: folder of results that holds records/ and artifacts/; None for the project's own.
        protocol: id of the board, if the row is on several.
        licence: of the network, as the Hub spells it, such as "mit" or "cc-by-4.0".
        private: whether a new repository can be seen by its owner only.

    Raises:
        UserError: if the row or its artifact is missing or the row was trained elsewhere, if the extra `hub` is not
            installed, or the Hub refuses.
    """
    repo, licence = checked_repo(repo), checked_licence(licence)
    hub = hub_package()
    folder = board_folder(board)
    record = row_record(row, folder, protocol)
    if isinstance(record, ExternalRecord):
        raise UserError(
            f"{record.run} was trained elsewhere, and only rows that were trained here are pushed; whoever published "
            f"it decides where it is: {record.origin.link}"
        )
    if wrong := record_texts(record):
        raise UserError(f"the record of {record.run} cannot be published: {wrong[0]}; correct the cause and run again")
    artifact_of(record, folder)
    artifact = read_below(artifact_path(folder, record.run), folder, ARTIFACT_BYTES)
    assert artifact is not None, "it has just been read"
    files = {
        RECORD: model_text(record).encode(),
        ARTIFACT: artifact,
        CARD: model_card(record, repo, licence).encode(),
    }
    api = make_api()
    if hub.get_token() is None:
        raise UserError("the Hub needs a token to push; set HF_TOKEN, or run `hf auth login`")
    with hub_errors(repo), _quiet():
        api.create_repo(repo, private=private or None, exist_ok=True)
        commit = api.create_commit(
            repo,
            [hub.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=f"{record.run} on {record.protocol}",
        )
    return Pushed(repo, str(commit.commit_url), commit.oid, tuple(files))


@contextmanager
def _quiet() -> Iterator[None]:
    """Draw no progress bars, and hide warnings of huggingface_hub about its own calls."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    drawn = not are_progress_bars_disabled()
    if drawn:
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if drawn:
            enable_progress_bars()
