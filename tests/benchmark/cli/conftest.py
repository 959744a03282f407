"""The command line inside of this process."""

from __future__ import annotations

import sys

import pytest

from benchmark.__main__ import main


@pytest.fixture
def command_here(monkeypatch, capsys):
    """Return a function that runs the command line in this process and returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def command(tmp_path, monkeypatch, command_here):
    """Return the same with a folder of the test's own as the current one.

    A command that starts workers needs a server of its own there, see KeptServers.
    """
    monkeypatch.chdir(tmp_path)
    return command_here
