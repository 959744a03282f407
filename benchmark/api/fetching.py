"""Fetches an artifact whose board has only its address, through a cache that pooch keeps."""

from __future__ import annotations

import logging
from pathlib import Path

import pooch

from benchmark.data.cache import cache_folder
from benchmark.errors import UserError
from benchmark.results.external import AnyRecord
from benchmark.submission.download import download
from benchmark.submission.files import ARTIFACT, LIMITS


def fetched_artifact(record: AnyRecord, url: str) -> Path:
    """Return the path of a record's artifact in the user's cache, fetched if it is not there.

    The address may be anybody's: it is fetched by https from a public host only, no more bytes than the record states,
    and a file is kept only if it has the record's SHA-256.

    Args:
        record: states size and hash.
        url: https address of the file.

    Raises:
        UserError: if it cannot be fetched, or is another file.
    """
    size, sha256 = record.artifact.size_bytes, record.artifact.sha256
    if size > LIMITS[ARTIFACT]:
        raise UserError(
            f"the artifact of {record.run} has {size:,} bytes, but at most {LIMITS[ARTIFACT]:,} are fetched; "
            "fetch it by hand and load it by its path"
        )

    def write(url: str, file: str, _: object) -> None:
        Path(file).write_bytes(download(url, size))

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        place = cache_folder() / "artifacts"
        name = f"{sha256}{record.ending}"
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=place, downloader=write))
    except UserError as error:
        raise UserError(f"the artifact of {record.run}: {error}; fetch {url} by hand and load it by its path") from None
    except OSError as error:
        raise UserError(
            f"the artifact of {record.run} cannot be kept in the cache ({error.strerror or error}); set "
            "ROBUST_COMPRESSION_CACHE to a folder that can be written to"
        ) from None
    except ValueError:  # of pooch: another hash
        raise UserError(
            f"the file at {url} is not the artifact that was measured for {record.run}: its sha256 is not "
            f"{sha256[:12]}…; ask whoever published the row for the file"
        ) from None
    except RuntimeError:  # a user without a home
        raise UserError("there is no home folder for the cache; set ROBUST_COMPRESSION_CACHE to a folder") from None
    finally:
        logger.setLevel(level)
