"""The code and the machine that a result comes from."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import torch


def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of this checkout and whether tracked files were changed; (None, None) outside git."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def device_name(device: torch.device) -> str:
    """Return the name of the hardware of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in _cpu_lines():
        if line.startswith("model name"):
            return f"cpu ({line.partition(':')[2].strip()})"
    return f"cpu ({platform.processor() or platform.machine()})"


def python_version() -> str:
    """Return the interpreter's version, such as 3.11.7."""
    return ".".join(str(part) for part in sys.version_info[:3])


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _git(root: Path, *arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return finished.stdout.strip()
