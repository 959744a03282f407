"""The project's own folders."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
LEADERBOARDS = ROOT / "leaderboards"
