"""The maker of records, shared with the tests of the results."""

from __future__ import annotations

import runpy
from pathlib import Path

# Test folders are no packages (importmode=importlib), hence no import.
_shared = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))
make_record, health = _shared["make_record"], _shared["health"]
make_rechecked, opponent = _shared["make_rechecked"], _shared["opponent"]
make_speed = _shared["make_speed"]
