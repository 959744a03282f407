"""The files of a submission: which are allowed, how large, and their bytes, read once and never executed.

A stranger wrote everything here: a name may be a link, a pipe or a folder, and a size may be false.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from benchmark.files.plain import kind_of, read_plain
from benchmark.results.citations import CITATION_BYTES
from benchmark.results.store import RECORD_BYTES

SUBMISSION, RECORD = "submission.json", "record.json"
ARTIFACT, ADVERSARIAL = "artifact.safetensors", "adversarial.safetensors"
NETWORK, CITATION = "network.onnx", "citation.yaml"  # of a network that was trained elsewhere
METHOD_FOLDER = "method"
LIMITS = {
    **{SUBMISSION: 2**16, RECORD: RECORD_BYTES, ARTIFACT: 500_000_000, ADVERSARIAL: 2**27},
    **{NETWORK: 500_000_000, CITATION: CITATION_BYTES},
}  # bytes
SOURCE_LIMIT = 2**18  # bytes of a method's file
MAX_ENTRIES = 32  # of a folder; an honest one has five


@dataclass(frozen=True)
class Files:
    """The bytes of a submission's files by their names below its folder, or why they were not read."""

    contents: dict[str, bytes]
    reasons: tuple[str, ...]

    @property
    def source(self) -> str | None:
        """Name of the method's file below `METHOD_FOLDER`; None without one."""
        return next((name.split("/")[1] for name in self.contents if "/" in name), None)


def read_files(folder: Path) -> Files:
    """Read a submission, unless a name, kind or size in it is not allowed.

    Links are not followed, pipes and devices are not opened, and a file is read only up to its limit.
    """
    paths, reasons = _listed(folder)
    if METHOD_FOLDER in paths:
        place = folder / METHOD_FOLDER
        del paths[METHOD_FOLDER]
        if not stat.S_ISDIR(place.lstat().st_mode):
            reasons.append(f"{METHOD_FOLDER} is {kind_of(place)}, not a folder")
        else:
            sources, wrong = _listed(place)
            reasons += [f"{METHOD_FOLDER}/: {reason}" for reason in wrong]
            paths |= {f"{METHOD_FOLDER}/{name}": path for name, path in sources.items()}
            if len(sources) != 1:
                reasons.append(f"{METHOD_FOLDER}/ holds {len(sources)} files; a method is one file")
    for name, path in paths.items():
        reasons += _refusals(name, path)
    for needed in (SUBMISSION, RECORD):
        if needed not in paths:
            reasons.append(f"{needed} is missing")
    if reasons:
        return Files({}, tuple(reasons))
    contents = {}
    for name, path in paths.items():
        content = read_plain(path, _limit(name))
        if content is None:
            return Files({}, (f"{name} changed while it was read",))
        contents[name] = content
    return Files(contents, ())


def _listed(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the entries of a folder by name, and why names are refused."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > MAX_ENTRIES:
                return {}, [f"there are more than {MAX_ENTRIES} files"]
    wrong = [name for name in names if not (name.isascii() and name.isprintable())]
    return {name: folder / name for name in sorted(names) if name not in wrong}, [
        f"the name {ascii(name)[:80]} has characters other than printable ASCII" for name in sorted(wrong)
    ]


def _limit(name: str) -> int:
    return LIMITS.get(name, SOURCE_LIMIT)


def _refusals(name: str, path: Path) -> list[str]:
    """Return why a file may not be part of a submission."""
    kind = kind_of(path)
    allowed = name in LIMITS or name.startswith(f"{METHOD_FOLDER}/")
    if not allowed:
        also = "" if kind == "a file" else f", and is {kind}"
        return [f"{name[:80]} is not part of a submission{also}"]
    if kind != "a file":
        return [f"{name[:80]} is {kind}; only plain files are allowed"]
    status = path.lstat()
    if status.st_size > _limit(name):
        return [f"{name[:80]} has {status.st_size:,} bytes, at most {_limit(name):,} are allowed"]
    if status.st_mode & 0o111:
        return [f"{name[:80]} is executable; remove the permission"]
    return []
