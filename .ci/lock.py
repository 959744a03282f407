"""Writes the lists of exact versions with the hashes of their files: `make lock`.

Versions that are listed already stay as they are. `make lock LOCK=--upgrade` takes the newest of all, and
`make lock LOCK='--upgrade-package torch'` the newest of one. Arguments go to `uv pip compile`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN, DEV, CUDA = (ROOT / f"constraints{suffix}.txt" for suffix in ("", "-dev", "-cuda"))
TORCH_CPU = ROOT / ".ci" / "torch-cpu.txt"

ABOUT = {
    RUN: "what running needs, and what builds the project",
    DEV: "what tests, linters, figures and ONNX need beside constraints.txt",
    CUDA: "the libraries that torch built for CUDA asks for, on Linux; other builds of torch need none",
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
        needed = resolve(resolved, builds)  # prefers the versions just resolved
    cuda = {name for name in needed if re.match(r"(nvidia|cuda)-|triton$", name)}
    write(RUN, {name: entry for name, entry in needed.items() if name not in cuda})
    write(DEV, {name: entry for name, entry in everything.items() if name not in needed})
    write(CUDA, {name: entry for name, entry in needed.items() if name in cuda})


def resolve(output: Path, builds: str, *arguments: str) -> dict[str, str]:
    """Return the entry of every package by its name: version, marker and hashes."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-package", "robust-compression-benchmark", "--output-file", str(output), *arguments]
    subprocess.run([*command, "pyproject.toml", "-"], input=builds, text=True, check=True, cwd=ROOT)
    entries = re.split(r"\n(?=\S)", output.read_text(encoding="utf-8").strip())
    return {entry.split("==")[0]: entry for entry in entries}


def write(path: Path, entries: dict[str, str]) -> None:
    """Write one list; torch also gets the hashes of its CPU builds, which another index than the usual one has."""
    for line in TORCH_CPU.read_text(encoding="utf-8").splitlines():
        version, _, digest = line.partition(" ")
        if entries.get("torch", "").startswith(f"torch=={version} "):
            entries["torch"] += f" \\\n    --hash=sha256:{digest.split()[0]}"
    lines = "".join(f"{entry}\n" for _, entry in sorted(entries.items()))
    path.write_text(HEADER.format(about=ABOUT[path]) + lines, encoding="utf-8")


if __name__ == "__main__":
    main()
