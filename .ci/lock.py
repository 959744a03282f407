"""Writes the lists of exact versions with the hashes of their files: `make lock`.

Versions that are listed already stay as they are. `make lock LOCK=--upgrade` takes the newest of all, and
`make lock LOCK='--upgrade-package torch'` the newest of one: arguments go to `uv pip compile`. The hashes of torch's
CPU builds are on another index than the usual one, so constraints-torch-cpu.txt is written by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN, DEV, TORCH = (ROOT / f"constraints{suffix}.txt" for suffix in ("", "-dev", "-torch"))

ABOUT = {
    RUN: "what running needs beside torch, and what builds the project",
    DEV: "what tests, linters, documentation, figures and ONNX need as well",
    TORCH: "torch as the package index has it, and the libraries of CUDA that it asks for on Linux",
}
HEADER = """\
# Exact versions with the SHA-256 of every file of them: {about}.
# Made by `make lock`; the ranges are in pyproject.toml. pip refuses a file with any other hash.
"""


def main() -> None:
    """Resolve for all platforms and Python versions at once, and split the result into the three lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    builds = "\n".join(project["build-system"]["requires"])
    with tempfile.TemporaryDirectory() as folder:
        resolved = Path(folder) / "resolved.txt"
        resolved.write_text("".join(path.read_text(encoding="utf-8") for path in ABOUT if path.exists()))
        everything = resolve(resolved, builds, "--all-extras", *sys.argv[1:])
        needed = resolve(resolved, builds, "--extra", "fast")  # prefers the versions just resolved
    torch = {name for name in needed if re.match(r"(torch|triton)$|(nvidia|cuda)-", name)}
    write(RUN, {name: entry for name, entry in needed.items() if name not in torch})
    write(DEV, {name: entry for name, entry in everything.items() if name not in needed})
    write(TORCH, {name: entry for name, entry in needed.items() if name in torch})


def resolve(output: Path, builds: str, *arguments: str) -> dict[str, str]:
    """Return the entry of every package by its name: version, marker and hashes."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    # One version for all Pythons: a list has one entry for each package.
    command += ["--fork-strategy", "fewest", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-package", "robust-compression-benchmark", "--output-file", str(output), *arguments]
    subprocess.run([*command, "pyproject.toml", "-"], input=builds, text=True, check=True, cwd=ROOT)
    entries = re.split(r"\n(?=\S)", output.read_text(encoding="utf-8").strip())
    names = [entry.split("==")[0] for entry in entries]
    if several := sorted({name for name in names if names.count(name) > 1}):
        raise SystemExit(f"error: {', '.join(several)}: several versions; take them out of the list and try again")
    return dict(zip(names, entries, strict=True))


def write(path: Path, entries: dict[str, str]) -> None:
    """Write one list."""
    lines = "".join(f"{entry}\n" for _, entry in sorted(entries.items()))
    path.write_text(HEADER.format(about=ABOUT[path]) + lines, encoding="utf-8")


if __name__ == "__main__":
    main()
