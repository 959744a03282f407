"""How Sphinx builds this documentation: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "Robust compression benchmark"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["demo"]  # a board, not pages of this documentation
html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"announcement": 'Measured results: <a href="../site/index.html">the boards</a>'}

default_role = "code"  # a single backquote, as in docstrings
toc_object_entries_show_parents = "hide"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Every reference must resolve, except to what other packages document.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!(benchmark|methods)\.).*")]

myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "boards": "../{{path}}#{{fragment}}"}
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_timeout = 600  # seconds for a cell; a busy machine takes long to import torch

_ROOT = Path(__file__).resolve().parents[1]
_FROM_ROOT = {"changelog", "contributing", "security"}  # pages that show the file of this name in the root
_RELATIVE = re.compile(r"\]\((?!https?:|#)")
_TO_ROOT = re.compile(r"\]\(\.\./(CHANGELOG|CONTRIBUTING|SECURITY)\.md")
_TO_BOARDS = re.compile(r"(?<!!)(\[[^\]]*\])\(\.\./leaderboards/")  # of pictures a copy is made instead


def prepare_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show files of the root as pages, and point links to where their targets are published.

    Boards are published one folder above this documentation.
    """
    text = source[0]
    if docname in _FROM_ROOT:
        text = (_ROOT / f"{docname.upper()}.md").read_text(encoding="utf-8")
        text = _RELATIVE.sub("](../", text).replace("](../docs/", "](")
    text = _TO_ROOT.sub(lambda match: f"]({match[1].lower()}.md", text)
    source[0] = _TO_BOARDS.sub(r"\1(boards:", text)


def list_deviations(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show the DEVIATION paragraphs of a docstring, which follow each other without blank lines, as a list."""
    shown, within = [], False
    for line in lines:
        begins = line.startswith("DEVIATION: ")
        if begins and not within:
            shown.append("")
        within = begins or (within and bool(line.strip()))
        shown.append(f"- {line}" if begins else f"  {line}" if within else line)
    lines[:] = shown


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", prepare_source)
    app.connect("autodoc-process-docstring", list_deviations)
