"""The help warns where a command runs code of the user's choice."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmark.__main__ import app


@pytest.mark.parametrize("name", ["run", "plan", "bench", "check"])
def test_the_help_of_a_command_that_imports_a_file_warns_that_it_runs_its_code(name):
    text = " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())

    assert "imported, which runs its code" in text
    assert "run nothing" not in text
