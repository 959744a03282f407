"""Boards can be made and checked where no deep-learning framework is installed."""

from __future__ import annotations

import subprocess
import sys


def test_results_and_leaderboard_leave_torch_and_scipy_alone():
    modules = [
        "benchmark.results",
        "benchmark.results.store",
        "benchmark.results.statistics",
        "benchmark.leaderboard",
        "benchmark.leaderboard.board.compare",
        "benchmark.leaderboard.board.find",
        "benchmark.leaderboard.render",
        "benchmark.leaderboard.board.tables",
    ]
    code = f"import sys, {', '.join(modules)}; sys.exit(bool({{'torch', 'pandas', 'scipy'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
