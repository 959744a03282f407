"""`python -m benchmark`: turns a user's mistake into one sentence on stderr and exit code 2."""

from __future__ import annotations

import os
import sys

from benchmark import cli_bench as cli_bench  # registers its command
from benchmark import cli_figures as cli_figures  # registers its command
from benchmark import cli_review as cli_review  # registers its commands
from benchmark import cli_submission as cli_submission
from benchmark.cli import app
from benchmark.errors import UserError


def main() -> None:
    """Run the command line."""
    # Threads that wait by spinning hold the cores they wait for: beside other busy processes that makes a step with two
    # threads five times as long. OpenMP reads this once, when torch is loaded, which no command has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app(prog_name="python -m benchmark")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # of a folder that cannot be read, or of the output, which has no name
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
